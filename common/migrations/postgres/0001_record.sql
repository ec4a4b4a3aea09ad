-- The record of all churches. Times are cut to milliseconds before they come here.

create table messages (
    id                   uuid primary key,
    church_id            text        not null,
    author_id            text        not null,
    conversation_id      text,
    content              text        not null,
    target_type          text        not null,
    media_urls           text        not null,
    from_number          text,
    messaging_profile_id text,
    status               text        not null,
    version              bigint      not null,
    recipient_count      bigint      not null,
    delivered_count      bigint      not null default 0,
    failed_count         bigint      not null default 0,
    unconfirmed_count    bigint      not null default 0,
    read_count           bigint      not null default 0,
    failure_reason       text,
    send_at              timestamptz,
    sent_at              timestamptz,
    created_at           timestamptz not null,
    updated_at           timestamptz not null
);
create index messages_history on messages (church_id, created_at desc, id desc);
create index messages_updated on messages (church_id, updated_at);

create table recipients (
    id              uuid primary key,
    message_id      uuid        not null references messages (id),
    church_id       text        not null,
    ordinal         bigint      not null,
    phone           text        not null,
    member_id       text,
    first_name      text,
    last_name       text,
    rank            bigint      not null default 0,
    closed          boolean     not null default false,
    provider_id     text constraint recipients_provider_id unique,
    -- Not to be sent before; moves on when an attempt was surely not accepted.
    due_at          timestamptz not null,
    -- Set and committed before the request to Telnyx; taken back only when it was surely not accepted.
    attempted_at    timestamptz,
    tried           bigint      not null default 0,
    failure_code    text,
    failure_reason  text,
    delivered_at    timestamptz,
    failed_at       timestamptz
);
create index recipients_message on recipients (message_id, ordinal);
create index recipients_due on recipients (church_id, due_at, id)
    where attempted_at is null and rank < 4 and not closed;
create index recipients_next on recipients (due_at)
    where attempted_at is null and rank < 4 and not closed;
create index recipients_unresolved on recipients (attempted_at)
    where attempted_at is not null and provider_id is null and rank < 4 and not closed;
create index recipients_overdue on recipients (attempted_at)
    where attempted_at is not null and rank < 4 and not closed;

create table webhooks (
    event_id     text primary key,
    event_type   text        not null,
    deliveries   bigint      not null,
    outcome      text        not null,
    reason       text,
    recipient_id uuid,
    -- While parked: how to find the recipient, and what to tell it (JSON).
    provider_id  text,
    report       text,
    occurred_at  timestamptz,
    received_at  timestamptz not null,
    body         bytea       not null
);
create index webhooks_parked on webhooks (event_id) where outcome = 'parked';
create index webhooks_parked_provider on webhooks (provider_id) where outcome = 'parked';
create index webhooks_received on webhooks (received_at);

create table outbox (
    position      bigint generated always as identity primary key,
    event_id      uuid        not null unique,
    message_id    uuid        not null,
    version       bigint      not null,
    progress      boolean     not null,
    subject       text        not null,
    payload       text        not null,
    created_at    timestamptz not null,
    stream_seq    bigint,
    announced_at  timestamptz,
    superseded_at timestamptz
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
    church_id   text        not null,
    key         text        not null,
    body_digest bytea       not null,
    message_id  uuid        not null,
    created_at  timestamptz not null,
    primary key (church_id, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);

-- Tokens issued until a Unix second are no longer accepted; of everybody in the church where the user is empty.
create table revocations (
    church_id    text   not null,
    user_id      text   not null,
    issued_until bigint not null,
    primary key (church_id, user_id)
);
