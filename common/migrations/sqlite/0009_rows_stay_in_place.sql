-- Fewer indexes are written when a row changes. A status changes seldom, counters and the time of the last change with
-- every webhook.
drop index messages_updated;
drop index messages_finished;
-- Pages of the history by status.
create index messages_status on messages (church_id, status, created_at desc, id desc);
-- Old messages, which are deleted.
create index messages_created on messages (created_at);
-- Pages of the history of what changed since a moment: by its events.
create index outbox_changes on outbox (subject, created_at, message_id);
-- The recipients of `ops failures`.
create index recipients_failed on recipients (failed_at) where failed_at is not null;

-- Events that were made before this moment may have been deleted from the outbox. What was deleted before this migration
-- is not known.
create table outbox_horizon (
    id           integer primary key check (id = 1),
    pruned_until integer not null
);
insert into outbox_horizon (id, pruned_until) values (1, cast(unixepoch('subsec') * 1000 as integer));
