-- prepare and weigh: what stands around the server's own XREADGROUP when many plain messages wait.
--
-- A function has each message copied three times, which costs more than all the rest of handing it out. A transaction
-- around XREADGROUP copies it once, but can decide nothing. So `prepare` decides before it, and when the transaction
-- shall take nothing it touches a key that the caller watches:
--
--   WATCH veto cancelled | prepare | MULTI | weigh -1 | XREADGROUP | weigh 1 | EXEC

local function has_unread(k, level)
  local last = redis.call('XREVRANGE', k.q .. level, '+', '-', 'COUNT', 1)[1]
  if not last then return false end
  local group = groups_of(k.q .. level)[k.group]
  return not group or is_before(group['last-delivered-id'], last[1])
end

local function falls_due(zset, now)
  local soonest = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')[2]
  return soonest and tonumber(soonest) <= now
end

-- Whether nothing may be handed out but new entries.
local function is_plain(k, now)
  return redis.call('EXISTS', k.suspect, k.ready, k.cancelled, k.ttl) == 0
    and not falls_due(k.due, now) and not falls_due(k.schedule, now)
end

-- Whether the work is due that `receive` does besides: dead consumers, ids, history.
local function has_chores(k, now)
  local times = redis.call('HMGET', k.meta, 'swept', 'trimmed')
  return now - (times[1] or 0) > SWEEP_EVERY or now - (times[2] or 0) > TRIM_EVERY
    or redis.call('ZCOUNT', k.lease, '-inf', '(' .. now) > 0
end

-- prepare: KEYS = meta, veto. ARGV = group, consumer, lease, epoch, level, number of the poll.
-- Returns the time in ms when there is nothing but new entries of that level to be handed out; else 0, and the veto is
-- touched.
local function prepare(keys, args)
  local k, now = names(keys[1], args[1]), now_ms()
  local kept, is_late = registration(k, args[2], args[6])
  local may = not is_late and string.match(kept, '^%d+') == args[4] and is_plain(k, now) and not has_chores(k, now)
  for level = 1, 5 do
    may = may and (level == tonumber(args[5]) or not has_unread(k, level))
  end
  if may then
    note_life(k, args[2], kept)
    redis.call('ZADD', k.lease, 'GT', now + tonumber(args[3]), args[2])
    return now
  end
  redis.call('SET', keys[2], '', 'PX', 1)
  return 0
end

-- weigh: KEYS = meta. ARGV = group, level, sign. Before and after, it counts what was handed out in between.
local function weigh(keys, args)
  local k = names(keys[1], args[1])
  local group = groups_of(k.q .. args[2])[k.group]
  -- Not of none: minus nothing is no number to Redis.
  if group and group.pending > 0 then redis.call('HINCRBY', k.meta, k.taken .. args[2], args[3] * group.pending) end
end
