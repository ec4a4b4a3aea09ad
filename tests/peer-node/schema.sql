-- The peer's record. Columns that change are in no index, and pages keep room, so that updates are HOT.

create table if not exists messages (
    id                uuid primary key,
    church_id         text        not null,
    status            text        not null default 'pending',
    version           bigint      not null default 1,
    recipient_count   bigint      not null,
    delivered_count   bigint      not null default 0,
    failed_count      bigint      not null default 0,
    unconfirmed_count bigint      not null default 0,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now()
) with (fillfactor = 70);
create index if not exists messages_history on messages (church_id, created_at desc, id desc);

create table if not exists recipients (
    id             uuid primary key,
    message_id     uuid   not null references messages (id),
    phone          text   not null,
    provider_id    text   unique,
    rank           bigint not null default 0,
    failure_reason text
) with (fillfactor = 70);

create table if not exists webhooks (
    event_id    uuid primary key,
    event_type  text        not null,
    received_at timestamptz not null default now(),
    body        bytea       not null
);
