-- For whom operators have paused sending: a church, or * for everybody.

create table pauses (
    church_id text primary key,
    paused_by text        not null,
    paused_at timestamptz not null
);
