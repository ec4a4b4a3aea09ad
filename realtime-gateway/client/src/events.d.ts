// The gateway's events, for `import { io, type Socket } from "socket.io-client"`:
//
//   const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io(url, …)
//
// Fields may be added; none is removed and none changes its meaning.

/** A message's status, and a recipient's. It only rises: pending, sent, failed, delivered, read. */
export type MessageStatus =
  /** Some recipient is not finished yet. */
  | "pending"
  /** Handed to the carrier, which gives no receipt. Not a failure. */
  | "sent"
  /** Reached nobody. */
  | "failed"
  /** Reached at least one recipient. */
  | "delivered"
  /** At least one recipient opened it. */
  | "read";

/** What happened to a message. */
export type MessageEventName =
  /** Accepted and recorded. */
  | "message:sent"
  /** Anything changed: the counters, the status, or both. */
  | "message:status_update"
  /** The status became `delivered`. */
  | "message:delivered"
  /** The status became `failed`. */
  | "message:failed"
  /** The status became `read`. */
  | "message:read";

/** News of one change, and at once the whole state of its message after it. */
export interface MessageEvent<Name extends MessageEventName = MessageEventName> {
  /** The name of this packet. */
  type: Name;
  /** The same in all packets of one event, and when it comes again. */
  eventId: string;
  churchId: string;
  messageId: string;
  conversationId?: string;
  status: MessageStatus;
  /** Rises with every change. Ignore the event if you have this version of the message, or a newer one. */
  version: number;
  recipientCount: number;
  /** Those who read it included. */
  deliveredCount: number;
  failedCount: number;
  /** Closed without a receipt. */
  unconfirmedCount: number;
  readCount: number;
  /** Cancelled before they were sent; they count as failed, too. Missing if there are none. */
  cancelledCount?: number;
  /** Why the newest failed recipient failed, in words for a person. */
  failureReason?: string;
  /** Recipients that changed, at most 20. */
  changed?: { recipientId: string; status: MessageStatus }[];
  /** More recipients changed than are named. */
  changedMore?: true;
  /** The author. */
  userId?: string;
  /** When it was recorded (RFC 3339, UTC, milliseconds). */
  timestamp: string;
  /** When it happened, as the carrier says. */
  occurredAt?: string;
  /** Where you are once you have this packet. Only on the last packet of an event; opaque. */
  cursor?: string;
  /** An operator sent it again. */
  replay?: true;
}

/** A text came in. Its number and its text stand in `GET /api/messages/inbound`, not in the event. */
export interface ReceivedEvent {
  type: "message:received";
  /** The same when the event comes again. */
  eventId: string;
  churchId: string;
  /** The text's `id` in `GET /api/messages/inbound`. */
  inboundId: string;
  /** When the carrier received it (RFC 3339, UTC, milliseconds). */
  receivedAt: string;
  /** The person asks for no more texts, for texts again, or who sends them. */
  optOut?: "stop" | "start" | "help";
  /** When it was recorded. */
  timestamp: string;
  /** Where you are once you have this packet; opaque. */
  cursor?: string;
  /** An operator sent it again. */
  replay?: true;
}

/** The first packet of every connection, and again if continuity is lost while connected. */
export interface Connected {
  status: "connected";
  userId: string;
  churchId: string;
  socketId: string;
  timestamp: string;
  /** Where you are: your own cursor if `recovered`, else the place from which on you get every event. */
  cursor: string;
  /** True: every event after your cursor follows. False: something may be missing, read the history. */
  recovered: boolean;
}

/** To the author alone, before the packets of the event that finishes the message. */
export interface Notification {
  type: "notification";
  kind: "message_finished";
  messageId: string;
  status: Exclude<MessageStatus, "pending">;
  timestamp: string;
  eventId: string;
}

/**
 * Whether events may be late or missing: `degraded: true` when a trouble of the gateway has lasted for a while (and to
 * each client that connects meanwhile), `degraded: false` when everything has come. Nothing is lost unless `connected`
 * says so.
 */
export type LiveDegraded =
  | {
      type: "live:degraded";
      degraded: true;
      /** The gateway can't reach the stream of events, or events are missing that it can't read. */
      reason: "unreachable" | "gap";
      /** RFC 3339, UTC, milliseconds. */
      since: string;
    }
  | { type: "live:degraded"; degraded: false };

export interface ServerToClientEvents {
  connected: (event: Connected) => void;
  "message:sent": (event: MessageEvent<"message:sent">) => void;
  "message:status_update": (event: MessageEvent<"message:status_update">) => void;
  "message:delivered": (event: MessageEvent<"message:delivered">) => void;
  "message:failed": (event: MessageEvent<"message:failed">) => void;
  "message:read": (event: MessageEvent<"message:read">) => void;
  "message:received": (event: ReceivedEvent) => void;
  notification: (event: Notification) => void;
  "live:degraded": (event: LiveDegraded) => void;
  /** The token ends in a minute, at `exp` (Unix seconds). */
  "auth:expiring": (event: { type: "auth:expiring"; exp: number }) => void;
}

/** The answer to `auth:refresh`; `exp` in Unix seconds. */
export type Refreshed = { ok: true; exp: number } | { ok: false; error: string };

export interface ClientToServerEvents {
  /** Replaces the token by a longer one of the same user and church. */
  "auth:refresh": (request: { token: string }, done: (answer: Refreshed) => void) => void;
}

/** What a client sends as `auth` when it connects. */
export interface Auth {
  token: string;
  /** The last cursor that it has got. */
  cursor?: string;
}
