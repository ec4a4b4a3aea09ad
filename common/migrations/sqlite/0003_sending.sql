-- Sending: whose turn it is, whose attempt it was, what Telnyx is asked for. Existing rows are brought into the form
-- that the constraint wants; indexes that are taken away make an older service slower, never wrong.

update recipients set attempted_at = due_at where provider_id is not null and attempted_at is null;

-- Who it is sent as: a number, else a messaging profile; empty in rows of an older service.
alter table recipients add column sender text not null default '';
-- The claim that the attempt belongs to. An answer to another claim changes nothing. (A constraint on other columns
-- comes with a new column: SQLite can't add one by itself without building the table anew.)
alter table recipients add column claim_id text
    constraint recipients_known_is_attempted check (provider_id is null or attempted_at is not null);
-- When Telnyx is asked what became of it, and how often it was; never after an end.
alter table recipients add column ask_at integer;
alter table recipients add column asked integer not null default 0;

update recipients set sender = (
        select coalesce(m.from_number, m.messaging_profile_id, '') from messages m where m.id = recipients.message_id)
    where attempted_at is null and rank < 4 and closed = 0;
update recipients set ask_at = attempted_at + 900000
    where provider_id is not null and rank < 4 and closed = 0;

drop index recipients_due;
drop index recipients_next;
create index recipients_turn on recipients (sender, church_id, due_at, id)
    where attempted_at is null and provider_id is null and rank < 4 and closed = 0;
create index recipients_waiting on recipients (sender, due_at)
    where attempted_at is null and provider_id is null and rank < 4 and closed = 0;
create index recipients_ask on recipients (ask_at) where ask_at is not null;

-- How long it was expected to take until the last recipient's turn; the same for every repetition of the request.
alter table messages add column estimated_seconds integer;

-- How fast a sender may go. One row a sender; `*` is everybody together.
create table paces (
    sender      text primary key,
    -- Messages a second at most, all processes together; of a church's own number it stands in senders.
    rate        integer,
    tokens      real not null,
    refilled_at integer not null,
    -- Nothing is sent before, for this reason; the wait grows with each setback in a row.
    held_until  integer,
    reason      text,
    setbacks    integer not null default 0,
    noted_at    integer,
    -- When Telnyx last answered one of its messages properly.
    served_at   integer
);
alter table senders add column rate integer;

-- What waits now has not been held back, as far as is known.
insert into paces (sender, tokens, refilled_at, served_at)
    select distinct sender, 0, unixepoch() * 1000, unixepoch() * 1000 from recipients
    where attempted_at is null and provider_id is null and rank < 4 and closed = 0;

create index webhooks_asked on webhooks (received_at) where event_type = 'asked';
