-- A session as the deployment knows it now: record, owner (whose lease lasts), epoch, runs, deleted, wish, when it was
-- made, last event, the time, owner whether or not its lease lasts.
-- KEYS: the session.
local held =
    redis.call('HMGET', KEYS[1], 'record', 'owner', 'epoch', 'runs', 'deleted', 'wish', 'wished', 'last', 'expires')
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local last_owner = held[2] or ''
if (tonumber(held[9]) or 0) <= now then held[2] = '' end
for at = 1, 8 do held[at] = held[at] or '' end
held[9] = string.format('%.0f', now)
held[10] = last_owner
return held
