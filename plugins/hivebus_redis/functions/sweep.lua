-- tidy: what has to happen although nobody reads. Messages expire, schedules fall due, dead consumers lose their
-- lease, settled entries are forgotten, and losses are noticed. Each call does a bounded part of it.
--
--   ttl        zset by deadline: tokens that waited for a while and had time left
--   c<level>   in `meta`: up to where waiting entries were looked at; wd, wr, ws likewise of due, ready and suspect
--
-- What expires in the middle of a stream is marked like what was cancelled, and readers pass it over.

-- What waits for less is looked at again rather than noted: where readers keep up, nothing is ever noted.
local YOUNG = 5000

local function bury_unread(k, level, entry, fields, now)
  local token = level .. '/' .. entry
  if redis.call('SADD', k.cancelled, token) == 0 then return 0 end
  bury(k, level, entry, fields, 'expired', now)
  return 1
end

local function look_at_unread(k, level, last, limit, now)
  local stream, expired, young = k.q .. level, 0, false
  local cursor = redis.call('HGET', k.meta, 'c' .. level)
  local reached = cursor and is_before(last, cursor) and cursor or last
  local rows = redis.call('XRANGE', stream, '(' .. reached, '+', 'COUNT', limit)
  for _, row in ipairs(rows) do
    local entry, fields = row[1], row[2]
    young = young or ms_of(entry) > now - YOUNG
    if not young then reached = entry end
    local deadline = tonumber(field(fields, 'x') or '')
    if deadline and deadline <= now then
      expired = expired + bury_unread(k, level, entry, fields, now)
    elseif deadline and not young then
      redis.call('ZADD', k.ttl, deadline, level .. '/' .. entry)
    end
  end
  if reached ~= cursor then redis.call('HSET', k.meta, 'c' .. level, reached) end
  -- What expired at the head is passed over, so a further call sees what is behind it.
  return expired, #rows == limit and (not young or expired > 0)
end

-- Of those that were noted, what is still unread expires; what was handed out since is not ours to judge.
local function expire_noted(k, lasts, limit, now)
  local tokens = redis.call('ZRANGEBYSCORE', k.ttl, '-inf', now, 'LIMIT', 0, limit)
  local expired = 0
  for _, token in ipairs(tokens) do
    local level, entry = split(token)
    local fields = is_before(lasts[tonumber(level)], entry) and entry_facts(k.q .. level, entry)
    if fields then expired = expired + bury_unread(k, level, entry, fields, now) end
  end
  if #tokens > 0 then redis.call('ZREM', k.ttl, unpack(tokens)) end
  return expired, #tokens == limit
end

local function expire_waiting(k, token, now)
  local level, entry = split(token)
  local fields = entry_facts(k.q .. level, entry)
  if not fields then
    drop_waiting(k, level, entry)
    note_lost(k, token)
    return 0
  end
  local deadline = tonumber(field(fields, 'x') or '')
  if not deadline or deadline > now then return 0 end
  drop_waiting(k, level, entry)
  bury(k, level, entry, fields, 'expired', now)
  return 1
end

-- What waits for another attempt, wherever it waits.
local function look_at_waiting(k, limit, now)
  local expired, more = 0, false
  local cursors = redis.call('HMGET', k.meta, 'wd', 'wr', 'ws')
  for i, name in ipairs({ 'due', 'ready', 'suspect' }) do
    local mark = 'w' .. string.sub(name, 1, 1)
    local cursor, members = unpack(redis.call('ZSCAN', k[name], cursors[i] or '0', 'COUNT', limit))
    for at = 1, #members, 2 do
      local token = members[at]
      if name == 'due' then token = string.match(token, '^r(.*)$') end
      if token then expired = expired + expire_waiting(k, token, now) end
    end
    if cursor ~= (cursors[i] or '0') then redis.call('HSET', k.meta, mark, cursor) end
    more = more or cursor ~= '0'
  end
  return expired, more
end

-- Where a stream begins with what nobody shall get, it is passed over at once, so that it no longer counts as waiting.
local function pass_over(k, level, limit)
  local stream, run, tokens = k.q .. level, {}, {}
  if redis.call('EXISTS', stream) == 0 then return end
  redis.pcall('XGROUP', 'CREATE', stream, k.group, '0')
  local last = groups_of(stream)[k.group]['last-delivered-id']
  for _, row in ipairs(redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', limit)) do
    local token = level .. '/' .. row[1]
    if redis.call('SISMEMBER', k.cancelled, token) == 0 then break end
    mark_unhandled(k, level, row[1])
    run[#run + 1] = row[1]
    tokens[#tokens + 1] = token
  end
  if #run == 0 then return end
  redis.call('XREADGROUP', 'GROUP', k.group, '~', 'COUNT', #run, 'STREAMS', stream, '>')
  redis.call('XACK', stream, k.group, unpack(run))
  redis.call('HINCRBY', k.meta, k.taken .. level, #run)
  redis.call('SREM', k.cancelled, unpack(tokens))
end

local function expire(k, limit, now)
  local expired, more, lasts = 0, false, {}
  local function add(count, unfinished)
    expired = expired + count
    more = more or unfinished
  end
  for level = 1, 5 do
    local group = groups_of(k.q .. level)[k.group]
    lasts[level] = group and group['last-delivered-id'] or '0-0'
    add(look_at_unread(k, level, lasts[level], limit, now))
  end
  if redis.call('EXISTS', k.ttl) == 1 then add(expire_noted(k, lasts, limit, now)) end
  if redis.call('EXISTS', k.due, k.ready, k.suspect) > 0 then add(look_at_waiting(k, limit, now)) end
  if redis.call('EXISTS', k.cancelled) == 1 then
    for level = 1, 5 do pass_over(k, level, limit) end
  end
  return expired, more
end

-- With nobody left who reads, nothing tells whether it was silent only here: whoever is over its lease has one more to
-- come back, from now on. It counts as gone all the same, and a reader that comes takes over at once.
local function end_leases_of_none_left(k, now)
  if redis.call('ZCOUNT', k.lease, now, '+inf') > 0 then return end
  for _, dead in ipairs(redis.call('ZRANGE', k.lease, 0, 2)) do
    local epoch, lease, left_alone = registered(k, dead)
    if epoch and left_alone == '' then
      leave_alone(k, dead, now + lease)
    elseif not spare(k, dead, now) and now > tonumber(left_alone or 0) then
      take_over(k, dead, now)
    end
  end
end

-- tidy: KEYS = meta. ARGV = ms for which settled entries are kept, how many entries a call looks at.
-- Returns how many expired, were trimmed, were lost and were taken by others since the last call, and 1 when a
-- further call has something to do.
local function tidy(keys, args)
  local k, now = names(keys[1], 'main'), now_ms()
  local keep, limit = tonumber(args[1]), tonumber(args[2])
  end_leases_of_none_left(k, now)
  promote(k, now)
  sweep_ids(k, now)
  local lost, removed = 0, 0
  for level = 1, 5 do
    local more_lost, more_removed = look_for_losses(k, level)
    lost, removed = lost + more_lost, removed + more_removed
  end
  if removed > 0 then
    redis.call('HINCRBY', k.meta, 'lost', lost)
    redis.call('HINCRBY', k.meta, 'removed', removed)
  end
  if redis.call('EXISTS', k.gone) == 1 then forget_settled_losses(k) end
  local expired, more = expire(k, limit, now)
  local trimmed = trim(k, now, keep)
  local known = redis.call('HMGET', k.meta, 'keep', 'lost', 'told')
  if known[1] ~= args[1] then redis.call('HSET', k.meta, 'keep', args[1]) end
  -- What was noticed at a hand-out is told here too.
  local untold = (known[2] or 0) - (known[3] or 0)
  if untold > 0 then redis.call('HSET', k.meta, 'told', known[2]) end
  return { expired, trimmed, untold, removed, more and 1 or 0 }
end
