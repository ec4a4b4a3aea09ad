-- The record of all churches. Ids are text, times are milliseconds since 1970 (UTC).

create table messages (
    id                   text primary key,
    church_id            text not null,
    author_id            text not null,
    conversation_id      text,
    content              text not null,
    target_type          text not null,
    media_urls           text not null,
    from_number          text,
    messaging_profile_id text,
    status               text not null,
    version              integer not null,
    recipient_count      integer not null,
    delivered_count      integer not null default 0,
    failed_count         integer not null default 0,
    unconfirmed_count    integer not null default 0,
    read_count           integer not null default 0,
    failure_reason       text,
    send_at              integer,
    sent_at              integer,
    created_at           integer not null,
    updated_at           integer not null
);
create index messages_history on messages (church_id, created_at desc, id desc);
create index messages_updated on messages (church_id, updated_at);

create table recipients (
    id              text primary key,
    message_id      text not null references messages (id),
    church_id       text not null,
    ordinal         integer not null,
    phone           text not null,
    member_id       text,
    first_name      text,
    last_name       text,
    rank            integer not null default 0,
    closed          integer not null default 0,
    provider_id     text constraint recipients_provider_id unique,
    -- Not to be sent before; moves on when an attempt was surely not accepted.
    due_at          integer not null,
    -- Set and committed before the request to Telnyx; taken back only when it was surely not accepted.
    attempted_at    integer,
    tried           integer not null default 0,
    failure_code    text,
    failure_reason  text,
    delivered_at    integer,
    failed_at       integer
);
create index recipients_message on recipients (message_id, ordinal);
create index recipients_due on recipients (church_id, due_at, id)
    where attempted_at is null and rank < 4 and closed = 0;
create index recipients_next on recipients (due_at)
    where attempted_at is null and rank < 4 and closed = 0;
create index recipients_unresolved on recipients (attempted_at)
    where attempted_at is not null and provider_id is null and rank < 4 and closed = 0;
create index recipients_overdue on recipients (attempted_at)
    where attempted_at is not null and rank < 4 and closed = 0;

create table webhooks (
    event_id     text primary key,
    event_type   text not null,
    deliveries   integer not null,
    outcome      text not null,
    reason       text,
    recipient_id text,
    -- While parked: how to find the recipient, and what to tell it (JSON).
    provider_id  text,
    report       text,
    occurred_at  integer,
    received_at  integer not null,
    body         blob not null
);
create index webhooks_parked on webhooks (event_id) where outcome = 'parked';
create index webhooks_parked_provider on webhooks (provider_id) where outcome = 'parked';
create index webhooks_received on webhooks (received_at);

create table outbox (
    position      integer primary key autoincrement,
    event_id      text not null unique,
    message_id    text not null,
    version       integer not null,
    progress      integer not null,
    subject       text not null,
    payload       text not null,
    created_at    integer not null,
    stream_seq    integer,
    announced_at  integer,
    superseded_at integer
);
create index outbox_waiting on outbox (position) where stream_seq is null and superseded_at is null;
create index outbox_announced on outbox (stream_seq) where stream_seq is not null;
create index outbox_message on outbox (message_id, version);

create table senders (
    church_id            text primary key,
    number               text not null constraint senders_number unique,
    messaging_profile_id text
);

create table idempotency_keys (
    church_id   text not null,
    key         text not null,
    body_digest blob not null,
    message_id  text not null,
    created_at  integer not null,
    primary key (church_id, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);

-- Tokens issued until a Unix second are no longer accepted; of everybody in the church where the user is empty.
create table revocations (
    church_id    text   not null,
    user_id      text   not null,
    issued_until integer not null,
    primary key (church_id, user_id)
);
