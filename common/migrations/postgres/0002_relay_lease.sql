-- The right to relay the outbox: one row. The term rises with each new holder, and every change of what the relay has
-- done compares it. A process that stands by writes here when its broker takes events.
create table relay_lease (
    id               bigint primary key check (id = 1),
    holder           uuid,
    term             bigint      not null,
    expires_at       timestamptz not null,
    standby_ready_at timestamptz not null
);
insert into relay_lease (id, term, expires_at, standby_ready_at) values (1, 0, 'epoch', 'epoch');

-- Events that the stream refuses whatever happens, each as it stood in the outbox.
create table refused_events (
    event_id   uuid primary key,
    message_id uuid        not null,
    version    bigint      not null,
    progress   boolean     not null,
    subject    text        not null,
    payload    text        not null,
    created_at timestamptz not null,
    refused_at timestamptz not null,
    reason     text        not null
);
create index refused_events_message on refused_events (message_id);

-- When the news of a revocation was last put into the outbox; empty if the stream has lost it. The user is `userId:7`,
-- `adminId:7` or `sub:7`, an id alone in rows of earlier versions, empty for everybody in the church.
alter table revocations add column announced_at timestamptz;
create index revocations_announced on revocations (announced_at);

-- On a large PostgreSQL database make it beforehand by hand, concurrently: writes wait while it is built here.
create index if not exists messages_finished on messages (updated_at) where status <> 'pending';
