-- Rows that change often stay where they are: PostgreSQL then writes no index for them. That needs room on the page,
-- and no index that holds a changed column, or names one in its condition.
-- On millions of recipients this takes a while; see "Migrations" in docs/operations.md.

-- A status changes seldom, counters and the time of the last change with every webhook. What these two were for,
-- `messages_status`, `messages_created` and `outbox_changes` are: large indexes, which a service builds (README.md).
drop index messages_updated;
drop index messages_finished;
alter table messages set (fillfactor = 70);
alter table recipients set (fillfactor = 70);

-- The conditions name whether a recipient is finished, which changes once, instead of the rank. Nothing can be sent
-- without these four. They hold unfinished recipients only, so they are small, and this writes the table anew anyway.
alter table recipients add column finished boolean not null generated always as (rank >= 4 or closed) stored;
drop index recipients_turn;
drop index recipients_waiting;
drop index recipients_unresolved;
drop index recipients_overdue;
-- A claim takes the first due recipients of each church of a sender. A recipient that was not attempted has no provider
-- id. The condition does not name it, so that a claim does not either and can use no index but this one.
create index recipients_turn on recipients (sender, church_id, due_at, id)
    where attempted_at is null and not finished;
-- A claim looks for the senders that have due recipients, and an estimate counts these.
create index recipients_waiting on recipients (sender, due_at)
    where attempted_at is null and provider_id is null and not finished;
-- Attempts without an answer are closed when they are overdue.
create index recipients_unresolved on recipients (attempted_at)
    where attempted_at is not null and provider_id is null and not finished;
-- So are recipients without a receipt.
create index recipients_overdue on recipients (attempted_at)
    where attempted_at is not null and not finished;

-- Events that were made before this moment may have been deleted from the outbox. What was deleted before this migration
-- is not known.
create table outbox_horizon (
    id           bigint primary key check (id = 1),
    pruned_until timestamptz not null
);
insert into outbox_horizon (id, pruned_until) values (1, date_trunc('milliseconds', now()));
