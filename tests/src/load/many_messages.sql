-- 100,000 messages of the church "crowd", each with a recipient and a webhook, for the views of the console on SQLite.
-- Of each ten, one failed, one waits, and eight are delivered.
with recursive numbers as (select 1 as n union all select n + 1 from numbers where n < 100000)
insert into messages (id, church_id, author_id, content, target_type, media_urls, status, version, recipient_count,
    delivered_count, failed_count, created_at, updated_at)
select printf('01900000-0000-7000-8000-%012d', n), 'crowd', 'userId:7', 'Hello', 'individual', '[]',
    case when n % 10 = 0 then 'failed' when n % 10 = 1 then 'pending' else 'delivered' end, 2, 1,
    case when n % 10 > 1 then 1 else 0 end, case when n % 10 = 0 then 1 else 0 end, unixepoch() * 1000 - n, unixepoch() * 1000 - n from numbers;
insert into recipients (id, message_id, church_id, ordinal, phone, rank, due_at, attempted_at, failure_code,
    failure_reason, failed_at, sender)
select replace(id, '-8000-', '-9000-'), id, church_id, 0, '+1202555' || substr(id, -4),
    case status when 'failed' then 4 when 'pending' then 0 else 5 end, created_at - 3600000,
    case status when 'pending' then null else created_at end,
    case status when 'failed' then '40300' end, case status when 'failed' then 'The recipient has opted out.' end,
    case status when 'failed' then created_at end, '+12025550199' from messages where church_id = 'crowd';
insert into webhooks (event_id, event_type, deliveries, outcome, recipient_id, received_at, body)
select id, 'message.finalized', 1, case when rank = 5 then 'applied' else 'ignored' end,
    case when rank = 5 then id end, due_at, x'7b7d' from recipients where church_id = 'crowd'
