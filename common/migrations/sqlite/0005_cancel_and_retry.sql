-- Cancelling and retrying: who cancelled a message, how many of its failed recipients were cancelled, and which later
-- message tries again.

alter table messages add column cancelled_by text;
alter table messages add column cancelled_count integer not null default 0;
-- The message that it retries.
alter table messages add column retry_of text;
-- The message that tries again to reach this recipient. Set once.
alter table recipients add column retry_id text;
