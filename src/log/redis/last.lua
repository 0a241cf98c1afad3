-- The last event of a log: its id, the event, the newest QR; empty where there is none.
-- KEYS: the session, its QR.
local last = redis.call('HMGET', KEYS[1], LAST, EVENT)
return { last[1] or '', last[2] or '', string_or_none(KEYS[2]) }
