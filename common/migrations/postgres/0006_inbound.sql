-- Texts that people send to a church's number.

create table inbound (
    id            uuid primary key,
    church_id     text        not null,
    -- Telnyx's id of the webhook, so that a repetition is none.
    event_id      text        not null constraint inbound_event_id unique,
    from_number   text        not null,
    content       text        not null,
    media_count   bigint      not null,
    opt_out       text,
    -- When Telnyx received it, and when it was recorded here.
    received_at   timestamptz not null,
    recorded_at   timestamptz not null,
    -- The church's back end is not told before; empty once it was told, or given up.
    forward_at    timestamptz,
    forward_tries bigint      not null default 0,
    -- The attempt under way. A failure of another attempt changes nothing.
    forward_claim uuid,
    forwarded_at  timestamptz
);
create index inbound_history on inbound (church_id, recorded_at desc, id desc);
create index inbound_recorded on inbound (recorded_at);
create index inbound_forward on inbound (forward_at) where forward_at is not null;
create index inbound_forward_turn on inbound (church_id, from_number, id) where forward_at is not null;
