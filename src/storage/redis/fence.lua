-- Who may write a session, who owns it, and what those who ask need. In front of every script, behind the names of the
-- fields (schema.rs).

-- Redis's clock, Unix ms.
local function time()
    local now = redis.call('TIME')
    return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- A moment as it is stored: Lua would write it with an exponent.
local function text(ms)
    return string.format('%.0f', ms)
end

-- A string that nothing depends on; '' where there is none, or the key is of another kind: the next one takes its place.
local function string_or_none(key)
    local found = redis.pcall('GET', key)
    return type(found) == 'string' and found or ''
end

-- The epoch of a claim: the larger of the last plus one and the time.
local function epoch_after(stored, now)
    return text(math.max((tonumber(stored) or 0) + 1, now))
end

-- The owner whose lease lasts; '' where there is none.
local function owner_at(now, owner, expires)
    return owner and (tonumber(expires) or 0) > now and owner or ''
end

-- Whether a session is this owner's in this epoch, and what else its hash has in the fields asked for.
-- 1: it is. 0: somebody else owns it, or it was claimed again since. -1: the stored epoch is older or missing: Redis has
-- lost this ownership, and the owner is about to write it again.
local function fence(session, owner, epoch, ...)
    local held = redis.call('HMGET', session, OWNER, EPOCH, ...)
    local verdict = 1
    if (tonumber(held[2]) or 0) < tonumber(epoch) then
        verdict = -1
    elseif held[1] ~= owner or held[2] ~= epoch then
        verdict = 0
    end
    return verdict, unpack(held, 3)
end
