/** Counters of one broker. Plain numbers, so that counting costs an addition; read by `$SYS` and later by metrics. */
export class Statistics {
  messagesReceived = 0;
  messagesSent = 0;
  bytesReceived = 0;
  publishReceived = 0;
  publishSent = 0;
  publishDropped = 0;
  publishBytesReceived = 0;
  publishBytesSent = 0;
  /** PUBLISH packets refused by the ACL. */
  publishDenied = 0;
  /** Deliveries not made because the receiver said the packet would be too large for it. */
  publishTooLarge = 0;
  /** QoS 1 and 2 messages not taken because the store was full. */
  publishRefused = 0;
  retainedRefused = 0;
  connectionsOpened = 0;
  connectionsRefused = 0;
  /** Sockets that have not logged in, where there is a doorkeeper. */
  strangers = 0;
  /** Those that the doorkeeper did not let in, and those that had to make room for others. */
  strangersTurnedAway = 0;
  strangersEvicted = 0;
  /** Times that a client was held back for a rate, after a time within it. */
  clientsHeldBack = 0;
  /** Clients disconnected for a rate. */
  clientsOverRate = 0;
  /** Clients disconnected because they took nothing of what was sent to them. */
  readersStalled = 0;
  /** Steps taken against overload. */
  overloadSteps = 0;
  /** Connections refused, and clients disconnected, because of overload. */
  overloadRefused = 0;
  overloadDisconnected = 0;
  protocolErrors = 0;
  /** Data streams that are open, that ever were, that were one too many, and that ended because of what came on them. */
  dataStreams = 0;
  dataStreamsOpened = 0;
  dataStreamsRefused = 0;
  dataStreamsFailed = 0;
  sessionsExpired = 0;
  connected = 0;
  connectedMax = 0;
  subscriptions = 0;
  sharedSubscriptions = 0;
  queuedMessages = 0;
  queuedBytes = 0;
  /** Messages that wait for the first subscriber to their topic. */
  heldMessages = 0;
  heldBytes = 0;
}
