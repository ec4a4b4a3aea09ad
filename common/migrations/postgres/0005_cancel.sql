-- Cancelling: who cancelled a message, and how many of its failed recipients were cancelled.

alter table messages add column cancelled_by text;
alter table messages add column cancelled_count bigint not null default 0;
