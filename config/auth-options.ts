/** The part of the option table that says how clients log in. */
import { type Format, integer } from './formats.ts';
import type { Option } from './option.ts';
import type { LoginMethod } from './types.ts';

/** Every way in, in the order in which they are asked unless `auth.chain` says otherwise: what is told apart at a glance comes first. */
export const LOGIN_METHODS: readonly LoginMethod[] = [
  'certificate',
  'ticket',
  'jwt',
  'scram',
  'password',
  'http',
];

const JWT_ALGORITHMS = [
  ...['HS256', 'HS384', 'HS512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
];

const boolean: Format = { kind: 'boolean' };
const path: Format = { kind: 'path', emptyAllowed: false };

export const AUTH_CHAIN: Option = {
  key: 'auth.chain',
  format: { kind: 'choices', values: LOGIN_METHODS },
  default: null,
  defaultText: `those that are configured, in the order ${LOGIN_METHODS.join(', ')}`,
  doc: 'Ways to log in, in order; the first that knows the user decides.',
};

export const AUTH_OPTIONS: readonly Option[] = [
  AUTH_CHAIN,
  {
    key: 'auth.allowPlainHttp',
    format: boolean,
    default: false,
    doc: 'Whether auth.http.url and auth.jwt.jwksUrl may begin with http:// for other machines than this one.',
  },
  {
    key: 'auth.jwt.secretFile',
    format: path,
    default: null,
    defaultText: 'none',
    doc: 'File with the secret that HMAC tokens (HS256, HS384, HS512) are signed with, at least 32 bytes.',
  },
  {
    key: 'auth.jwt.publicKeyFile',
    format: path,
    default: null,
    defaultText: 'none',
    doc: 'PEM file with the public key or certificate of whoever signs the tokens.',
  },
  {
    key: 'auth.jwt.jwksFile',
    format: path,
    default: null,
    defaultText: 'none',
    doc: 'File with a JSON Web Key Set of public keys.',
  },
  {
    key: 'auth.jwt.jwksUrl',
    format: { kind: 'text', charactersMax: 2_048 },
    default: null,
    defaultText: 'none',
    doc: 'Address of a JSON Web Key Set; needs auth.jwt.issuer or auth.jwt.audience.',
  },
  {
    key: 'auth.jwt.jwksCacheSeconds',
    format: integer(60, 86_400, 'seconds'),
    default: 600,
    doc: 'How long keys from auth.jwt.jwksUrl hold, in seconds; after half of it they are fetched again.',
  },
  {
    key: 'auth.jwt.issuer',
    format: { kind: 'text', charactersMax: 2_048 },
    default: null,
    defaultText: 'any',
    doc: 'What the claim iss of a token must be.',
  },
  {
    key: 'auth.jwt.audience',
    format: { kind: 'texts' },
    default: null,
    defaultText: 'any',
    doc: 'One of these must be in the claim aud of a token.',
  },
  {
    key: 'auth.jwt.algorithms',
    format: { kind: 'choices', values: JWT_ALGORITHMS },
    default: null,
    defaultText: 'those that fit the key',
    doc: 'Signature algorithms that are accepted.',
  },
  {
    key: 'auth.jwt.usernameClaim',
    format: { kind: 'text', charactersMax: 256 },
    default: 'sub',
    doc: 'Claim that is the user name.',
  },
  {
    key: 'auth.jwt.aclClaim',
    format: { kind: 'text', charactersMax: 256 },
    default: 'acl',
    doc: 'Claim that says what the client may do at most: {"pub": [filters], "sub": [filters]}; tokens without it are limited by the rules alone.',
  },
  {
    key: 'auth.jwt.clockToleranceSeconds',
    format: integer(0, 300, 'seconds'),
    default: 5,
    doc: 'How far the clock of the issuer may be off, in seconds.',
  },
  {
    key: 'auth.http.url',
    format: { kind: 'text', charactersMax: 2_048 },
    default: null,
    defaultText: 'none',
    doc: 'Address of a login service that is asked by POST.',
  },
  {
    key: 'auth.http.timeoutSeconds',
    format: integer(1, 60, 'seconds'),
    default: 3,
    doc: 'Time for an answer of the login service, with the wait for a turn, in seconds.',
  },
  {
    key: 'auth.http.concurrencyMax',
    format: integer(1, 256, 'requests'),
    default: 16,
    doc: 'Requests to the login service under way at once.',
  },
  {
    key: 'auth.http.cacheSeconds',
    format: integer(0, 3_600, 'seconds'),
    default: 0,
    doc: 'How long a login that the service accepted is remembered, in seconds; 0: not at all.',
  },
  {
    key: 'auth.tickets.keyFile',
    format: path,
    default: null,
    defaultText: 'none',
    doc: 'File with the key of tickets for web pages, made by `sluice ticket --init`.',
  },
  {
    key: 'auth.tickets.secondsMax',
    format: integer(1, 86_400, 'seconds'),
    default: 3_600,
    doc: 'Longest life of a ticket that is made or accepted, in seconds.',
  },
  {
    key: 'auth.tickets.mintUrl',
    format: { kind: 'text', charactersMax: 256 },
    default: null,
    defaultText: 'none',
    doc: 'Where tickets can be made by HTTP, on loopback only, like http://127.0.0.1:8085; needs auth.tickets.mintTokenFile.',
  },
  {
    key: 'auth.tickets.mintTokenFile',
    format: path,
    default: null,
    defaultText: 'none',
    doc: 'File with the token, at least 32 characters, that whoever makes tickets by HTTP has to show.',
  },
];

/** What a listener may say differently. */
export const LISTENER_AUTH_OPTIONS: readonly Option[] = [
  { ...AUTH_CHAIN, defaultText: 'auth.chain' },
  {
    key: 'auth.allowAnonymous',
    format: boolean,
    default: null,
    defaultText: 'auth.allowAnonymous',
    doc: 'Whether clients without a user name get in by this listener.',
  },
  {
    key: 'auth.passwordFile',
    format: path,
    default: null,
    defaultText: 'auth.passwordFile',
    doc: 'File of users and password hashes of this listener.',
  },
  {
    key: 'auth.aclFile',
    format: path,
    default: null,
    defaultText: 'auth.aclFile',
    doc: 'File of rules for clients that come in by this listener.',
  },
];
