-- The trace of the request or webhook that made an event (W3C `traceparent`).

alter table outbox add column trace_parent text;
alter table refused_events add column trace_parent text;
