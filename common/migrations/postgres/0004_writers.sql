-- Processes that wrote this row to find out whether they can write, while they had nothing else to write.

create table writers (
    process_id uuid primary key,
    written_at timestamptz not null
);
