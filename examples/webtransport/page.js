/** The page's script: MQTT.js over WebTransport, or over WebSocket where that does not come up, and what can be seen of it. */
import mqtt from '/mqtt.js';
import { connect } from '/webtransport/index.js';

const NAMES = { webtransport: 'WebTransport', websocket: 'WebSocket' };
const ROWS_MAX = 200;
const PAYLOAD_CHARACTERS_MAX = 2_000;
const PING_MS = 1_000;
const PINGS_SHOWN = 60;

const byId = (id) => document.getElementById(id);
const fieldsOf = (form) => Object.fromEntries(new FormData(form));
const filters = new Set();
const latenciesMs = [];
let client = null;
let pingTimer;
let pingedAt;
let received = 0;
let connects = 0;

/** The hash of the broker's certificate, as it is now: it is asked for at every attempt to connect. */
async function certificateHashes() {
  const response = await fetch('/certificate-hash.json', { cache: 'no-store' });
  const { hash, error } = await response.json();
  if (!response.ok) throw new Error(error);
  return [hash];
}

function open({ url, fallbackUrl, username, password }) {
  const transport = {
    url,
    ...(fallbackUrl !== '' && { fallbackUrl }),
    certificateHashes,
    onTransport: showTransport,
  };
  const login = username === '' ? {} : { username, password };
  const opened = connect(mqtt.MqttClient, transport, { protocolVersion: 5, ...login });
  // What a client says that the page has left is of no interest.
  const on = (event, listener) =>
    opened.on(event, (...args) => {
      if (client === opened) listener(...args);
    });
  client = opened;
  on('connect', connected);
  on('close', () => show('connecting', 'Connecting…'));
  on('message', showMessage);
  on('error', async (error) => {
    // A reason code of the broker is its last word: MQTT.js does not try again.
    if (typeof error.code === 'number' && !opened.connected) await close();
    complain(error.message);
  });
  on('disconnect', ({ reasonCode, properties }) => {
    const why = properties?.reasonString ?? `reason code 0x${reasonCode.toString(16)}`;
    complain(`The broker has ended the connection: ${why}`);
  });
  on('packetreceive', ({ cmd }) => {
    if (cmd === 'pingresp' && pingedAt !== undefined) showLatency(performance.now() - pingedAt);
  });
  show('connecting', 'Connecting…');
}

function connected() {
  connects++;
  complain('');
  byId('connects').textContent = connects;
  const transport = document.body.dataset.transport;
  show(transport, `Connected over ${NAMES[transport]}`);
  clearInterval(pingTimer);
  pingTimer = setInterval(ping, PING_MS);
}

function ping() {
  if (!client?.connected) return;
  pingedAt = performance.now();
  client.sendPing();
}

async function close() {
  clearInterval(pingTimer);
  const old = client;
  client = null;
  await old.endAsync(!old.connected);
  filters.clear();
  showFilters();
  byId('transport').textContent = '–';
  show('offline', 'Not connected');
}

/** @param state offline, connecting, webtransport or websocket */
function show(state, text) {
  document.body.dataset.state = state;
  byId('state-text').textContent = text;
  byId('connect').textContent = state === 'offline' ? 'Connect' : 'Disconnect';
  const isConnected = state in NAMES;
  for (const button of document.querySelectorAll('.line button')) button.disabled = !isConnected;
  for (const input of byId('connection').elements) {
    if (input instanceof HTMLInputElement) input.disabled = state !== 'offline';
  }
}

function showTransport(transport, reason) {
  document.body.dataset.transport = transport;
  byId('transport').textContent = NAMES[transport];
  byId('reason').textContent = reason?.message ?? '';
  latenciesMs.length = 0;
}

function showLatency(ms) {
  pingedAt = undefined;
  latenciesMs.push(ms);
  if (latenciesMs.length > PINGS_SHOWN) latenciesMs.shift();
  byId('latency').textContent = `${ms.toFixed(1)} ms`;
  const highest = Math.max(...latenciesMs);
  byId('highest').textContent = `PINGREQ to PINGRESP, once a second; highest ${highest.toFixed(1)} ms`;
  const most = highest * 1.15;
  const points = latenciesMs.map((value, index) => {
    const x = 300 - ((latenciesMs.length - 1 - index) * 300) / (PINGS_SHOWN - 1);
    return `${x.toFixed(1)},${(60 - (value / most) * 60).toFixed(1)}`;
  });
  byId('chart').firstElementChild.setAttribute('points', points.join(' '));
}

function showMessage(topic, payload, { qos, retain }) {
  received++;
  const rows = byId('messages');
  rows.querySelector('.empty')?.remove();
  const row = document.createElement('tr');
  const time = new Date().toISOString().slice(11, 23);
  const text = payload.toString();
  const shown =
    text.length > PAYLOAD_CHARACTERS_MAX
      ? `${text.slice(0, PAYLOAD_CHARACTERS_MAX)}… (${payload.length} bytes)`
      : text;
  for (const content of [time, topic, shown, retain ? `${qos}, kept` : qos])
    row.insertCell().textContent = content;
  rows.prepend(row);
  while (rows.rows.length > ROWS_MAX) rows.lastElementChild.remove();
  byId('count').textContent = `${received} received`;
}

function showFilters() {
  byId('filters').textContent =
    filters.size === 0 ? 'No subscription yet.' : `Subscribed to ${[...filters].join(', ')}`;
}

/** @param message nothing hides it */
function complain(message) {
  byId('error').textContent = message;
  byId('error').hidden = message === '';
}

function onSubmit(id, work) {
  byId(id).addEventListener('submit', async (event) => {
    event.preventDefault();
    complain('');
    try {
      await work(fieldsOf(event.target));
    } catch (error) {
      complain(error.message);
    }
  });
}

onSubmit('connection', (fields) => (client === null ? open(fields) : close()));
onSubmit('subscribe', async ({ filter }) => {
  const [{ qos }] = await client.subscribeAsync(filter, { qos: 2 });
  if (qos > 2) throw new Error(`The broker refuses ${filter}`);
  filters.add(filter);
  showFilters();
});
onSubmit('publish', ({ topic, payload, qos }) => client.publishAsync(topic, payload, { qos: Number(qos) }));

const { hostname } = location;
byId('connection').elements.url.value = `https://${hostname}:8443/mqtt`;
byId('connection').elements.fallbackUrl.value = `ws://${hostname}:8083/mqtt`;
