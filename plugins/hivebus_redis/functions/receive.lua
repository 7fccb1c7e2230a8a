-- open, receive and close: what hands messages to consumers and takes them from dead ones.

-- From the first message ever sent; a group that is there already stays as it is.
local function make_group(k, stream)
  redis.pcall('XGROUP', 'CREATE', stream, k.group, '0', 'MKSTREAM')
end

-- Returns epoch, lease, and where it has one, the time until which a consumer is left alone though its lease is over.
local function registered(k, consumer)
  return string.match(redis.call('HGET', k.consumers, consumer) or '', '^(%d+),(%d+),?(%d*)$')
end

local function leave_alone(k, consumer, last)
  local epoch, lease = registered(k, consumer)
  redis.call('HSET', k.consumers, consumer, string.format('%s,%s,%.0f', epoch, lease, last))
end

-- Who gives a sign of life may be left alone once more, another time.
local function note_life(k, consumer, kept)
  local facts = kept and string.match(kept, '^(%d+,%d+),')
  if facts then redis.call('HSET', k.consumers, consumer, facts) end
end

local function register(k, consumer, kept, lease, now)
  local epoch = kept and string.match(kept, '^(%d+),')
  if epoch then
    note_life(k, consumer, kept)
  else
    epoch = tostring(redis.call('HINCRBY', k.meta, 'epoch', 1))
    redis.call('HSET', k.consumers, consumer, epoch .. ',' .. lease)
    for level = 1, 5 do
      make_group(k, k.q .. level)
    end
  end
  redis.call('ZADD', k.lease, 'GT', now + lease, consumer)
  return epoch
end

-- Where the number is kept of the last poll that a consumer may have given up.
local function given_up(consumer)
  return '!' .. consumer
end

-- Returns the registration of who asks, and whether the poll comes too late: who has sent it has given it up, or is gone,
-- and would not see what it takes.
local function registration(k, consumer, number)
  local kept = redis.call('HMGET', k.consumers, consumer, given_up(consumer))
  return kept[1], not kept[1] or tonumber(number) <= tonumber(kept[2] or 0)
end

local function forget(k, consumer, seen)
  redis.call('ZREM', k.lease, consumer)
  redis.call('HDEL', k.consumers, consumer, given_up(consumer))
  redis.call('HDEL', k.pool, consumer)
  redis.call('HSET', k.meta, 'seen', seen)
  for level = 1, 5 do
    redis.pcall('XGROUP', 'DELCONSUMER', k.q .. level, k.group, consumer)
  end
end

-- Calls act(token) for every message that the consumer holds, at most CHUNK a level; true when that was all.
local function each_held(k, consumer, act)
  local all = true
  for level = 5, 1, -1 do
    -- Nothing is held in a stream that somebody deleted: an error reply has no entries.
    local held = redis.pcall('XPENDING', k.q .. level, k.group, '-', '+', CHUNK, consumer)
    for _, row in ipairs(held) do act(level .. '/' .. row[1]) end
    if #held == CHUNK then all = false end
  end
  return all
end

-- Takes everything from a consumer whose lease is over. Its epoch ends here, so whatever it settles later is
-- stale. What was only fetched may go to anybody; what ran is suspect and will run alone.
local function take_over(k, consumer, now)
  local ends = redis.call('ZSCORE', k.lease, consumer)
  local _, lease = registered(k, consumer)
  lease = lease or 0
  redis.call('HSET', k.consumers, consumer, '0,' .. lease)
  local all = each_held(k, consumer, function(token)
    local started = redis.call('SREM', k.fetched, token) == 0
    local alone = redis.call('SREM', k.alone, token)
    give_to(k, token, '~')
    add_fate(k, token, 1, 0, alone)
    redis.call('ZADD', started and k.suspect or k.ready, rank(token), token)
  end)
  if all then forget(k, consumer, math.max(0, (ends or now) - lease)) end
end

-- When this server began to serve, as well as it says: to the second, and never too early. 0 where it may not be asked.
local function serves_since(now)
  local facts = redis.pcall('INFO', 'server')
  local uptime = type(facts) == 'string' and string.match(facts, 'uptime_in_seconds:(%d+)')
  return uptime and now - uptime * 1000 or 0
end

-- A server that was away was told of no sign of life: its consumers have a whole lease to come back from then on.
-- Otherwise each long outage would be a crash of whatever ran alone.
local function spare(k, consumer, now)
  local _, lease = registered(k, consumer)
  local ends = serves_since(now) + (lease or 0)
  if ends <= now then return false end
  redis.call('ZADD', k.lease, ends, consumer)
  return true
end

-- Since when the inbox has heard of none of its consumers, if that is for half a lease and the asker was there before.
-- Each gives a sign of life three times a lease: not they were silent then, but the server, or the whole machine.
local function silent_since(k, consumer, lease, now)
  local ends = redis.call('ZSCORE', k.lease, consumer)
  if not ends or now - (ends - lease) <= lease / 2 then return nil end
  local latest, all = 0, redis.call('ZRANGE', k.lease, 0, -1, 'WITHSCORES')
  for at = 1, #all, 2 do
    local _, theirs = registered(k, all[at])
    latest = math.max(latest, all[at + 1] - (theirs or 0))
  end
  return now - latest > lease / 2 and latest or nil
end

-- Leaves a consumer alone for one more lease, once until its next sign of life: if it was alive when the silence began.
-- More often, those that are left could be too busy for ever to take over what a dead one held.
local function outlives_silence(k, consumer, silence, now)
  local epoch, lease, left_alone = registered(k, consumer)
  if not silence or not epoch or tonumber(redis.call('ZSCORE', k.lease, consumer)) < silence then return false end
  local last = left_alone ~= '' and tonumber(left_alone) or now + lease
  if last <= now then return false end
  leave_alone(k, consumer, last)
  redis.call('ZADD', k.lease, last, consumer)
  return true
end

local function end_leases(k, asker, lease, now)
  local over = redis.call('ZRANGEBYSCORE', k.lease, '-inf', '(' .. now, 'LIMIT', 0, 3)
  local silence = #over > 0 and silent_since(k, asker, lease, now)
  for _, dead in ipairs(over) do
    if dead ~= asker and not spare(k, dead, now) and not outlives_silence(k, dead, silence, now) then
      take_over(k, dead, now)
    end
  end
end

local function promote(k, now)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', k.schedule, '-inf', now, 'LIMIT', 0, CHUNK)) do
    local kind, rest = string.sub(member, 1, 1), string.sub(member, 2)
    if kind == 's' then
      redis.call('ZREM', k.schedule, member)
      local kept = redis.call('HGET', k.sched, rest)
      if kept then
        local level, deadline, data = string.match(kept, '^(%d):([^:]*):(.*)$')
        redis.call('HDEL', k.sched, rest)
        add_entry(k, level, rest, data, deadline ~= '' and deadline)
      end
    end
  end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', k.due, '-inf', now, 'LIMIT', 0, CHUNK)) do
    if string.sub(member, 1, 1) == 'r' then
      local token = string.sub(member, 2)
      redis.call('ZREM', k.due, member)
      redis.call('ZADD', k.ready, rank(token), token)
    end
  end
end

-- What an entry may not be handed out for: trimmed by somebody else, expired, or cancelled.
local function is_over(k, level, entry, fields, now)
  if not fields then
    redis.call('XACK', k.q .. level, k.group, entry)
    return true
  end
  -- First, because a sweep has made the dead letter already of what expired in its sight. Only the main group takes
  -- the mark away: another one may come by before it.
  if redis.call(k.group == 'main' and 'SREM' or 'SISMEMBER', k.cancelled, level .. '/' .. entry) == 1 then
    redis.call('XACK', k.q .. level, k.group, entry)
    mark_unhandled(k, level, entry)
    return true
  end
  local deadline = tonumber(field(fields, 'x') or '')
  if deadline and deadline <= now then
    bury(k, level, entry, fields, 'expired', now)
    return true
  end
  return false
end

-- Appends "[fate ]level/entry/epoch/id" and the data.
local function hand_over(k, out, level, entry, fields, epoch, with_fate, alone)
  local fate = with_fate and redis.call('HGET', k.fate, level .. '/' .. entry) or ''
  if alone then fate = (fate == '' and '0,0,0' or fate) .. ',1' end
  if fate ~= '' then fate = fate .. ' ' end
  out[#out + 1] = fate .. level .. '/' .. entry .. '/' .. epoch .. '/' .. id_of(fields)
  out[#out + 1] = field(fields, 'd') or ''
end

local function take_suspect(k, out, consumer, epoch, start, now)
  local token = redis.call('ZPOPMIN', k.suspect)[1]
  if not token then return end
  local level, entry = split(token)
  local row = redis.call('XCLAIM', k.q .. level, k.group, consumer, 0, entry)[1]
  if not row then
    note_lost(k, token)
  elseif not is_over(k, level, entry, row[2], now) then
    hand_over(k, out, level, entry, row[2], epoch, true, true)
    redis.call('SADD', start > 0 and k.alone or k.fetched, token)
  end
end

-- In the order in which they were accepted, also within a millisecond: the zset sorts those as texts, 10 before 9.
local function in_order(tokens)
  local places = {}
  for _, token in ipairs(tokens) do
    local ms, seq = string.match(token, '/(%d+)-(%d+)$')
    places[token] = { tonumber(ms), tonumber(seq) }
  end
  table.sort(tokens, function(one, other)
    local a, b = places[one], places[other]
    return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2])
  end)
  return tokens
end

local function take_ready(k, out, level, room, consumer, epoch, now)
  local low, high = (5 - level) * 1e13, (6 - level) * 1e13 - 1
  local tokens = redis.call('ZRANGEBYSCORE', k.ready, string.format('%.0f', low), string.format('%.0f', high),
    'LIMIT', 0, room)
  local taken = 0
  for _, token in ipairs(in_order(tokens)) do
    redis.call('ZREM', k.ready, token)
    local _, entry = split(token)
    local row = redis.call('XCLAIM', k.q .. level, k.group, consumer, 0, entry)[1]
    if not row then
      note_lost(k, token)
    elseif not is_over(k, level, entry, row[2], now) then
      hand_over(k, out, level, entry, row[2], epoch, true, false)
      taken = taken + 1
    end
  end
  return taken
end

local function take_new(k, out, level, room, consumer, epoch, cancelled, now)
  local stream, taken, n = k.q .. level, 0, #out
  local read = redis.pcall('XREADGROUP', 'GROUP', k.group, consumer, 'COUNT', room, 'STREAMS', stream, '>')
  if read and read.err then
    -- Somebody deleted the stream. Made again from its beginning, it is read from the next poll on.
    redis.log(redis.LOG_WARNING, 'hivebus: a stream was deleted and is made again: ' .. stream)
    make_group(k, stream)
    k.healed = true
    return 0
  end
  if not read then return 0 end
  redis.call('HINCRBY', k.meta, k.taken .. level, #read[1][2])
  local before, behind = level .. '/', '/' .. epoch .. '/'
  for _, row in ipairs(read[1][2]) do
    local entry, fields = row[1], row[2]
    if #fields == 4 and fields[1] == 'i' and fields[3] == 'd' and not cancelled
      and #fields[2] <= 64 then
      -- Nearly every message; the general way below costs three times as much.
      out[n + 1] = before .. entry .. behind .. fields[2]
      out[n + 2] = fields[4]
      n = n + 2
      taken = taken + 1
    elseif not is_over(k, level, entry, fields, now) then
      k.odd = true
      hand_over(k, out, level, entry, fields, epoch, false, false)
      n = n + 2
      taken = taken + 1
    end
  end
  return taken
end

-- What an idle reader waits for: entries behind these ids, or the time at which something falls due.
local function idle_until(k, out, now)
  local due = redis.call('ZRANGE', k.due, 0, 0, 'WITHSCORES')[2]
  local schedule = redis.call('ZRANGE', k.schedule, 0, 0, 'WITHSCORES')[2]
  local lease = redis.call('ZRANGE', k.lease, 0, 0, 'WITHSCORES')[2]
  local soonest = math.min(tonumber(due or 1e15), tonumber(schedule or 1e15), tonumber(lease or 1e15) + 1)
  out[3] = string.format('%.0f', math.max(0, soonest - now))
  for level = 5, 1, -1 do
    local group = groups_of(k.q .. level)[k.group]
    out[#out + 1] = group and group['last-delivered-id'] or '0-0'
  end
  local bell = redis.call('XREVRANGE', k.bell, '+', '-', 'COUNT', 1)[1]
  out[#out + 1] = bell and bell[1] or '0-0'
end

-- open: KEYS = meta, index. ARGV = inbox, group, consumer, lease, how a pool is shared or "". Returns the epoch.
local function open(keys, args)
  local k = names(keys[1], args[2])
  redis.call('SADD', keys[2], args[1])
  redis.call('HSETNX', k.meta, 'n', 0)
  -- Its reader notices by another epoch that it was dropped meanwhile.
  if is_temporary(k.meta) then redis.call('HSETNX', k.meta, 'epoch', now_ms()) end
  if args[5] ~= '' then redis.call('HSET', k.meta, 'policy', args[5]) end
  return register(k, args[3], redis.call('HGET', k.consumers, args[3]), tonumber(args[4]), now_ms())
end

-- receive: KEYS = meta. ARGV = group, consumer, lease, limit, start, running, number of the poll.
-- Returns epoch, "deliveries" | "plain" (likewise, and nothing else waits but more of that kind: see bulk.lua) |
-- "healed" (likewise, and a stream was made again) | "drain" | "idle", ms until something
-- falls due, then for deliveries pairs of token with fate and data; for idle the ids behind which new entries appear,
-- highest level first, then the bell's. For a poll that nobody waits for any more "0", "late", "0".
local function receive(keys, args)
  local k = names(keys[1], args[1])
  local consumer, lease = args[2], tonumber(args[3])
  local limit, start, running = tonumber(args[4]), tonumber(args[5]), tonumber(args[6])
  local now = now_ms()
  local kept, is_late = registration(k, consumer, args[7])
  if is_late then return { '0', 'late', '0' } end
  end_leases(k, consumer, lease, now)
  local epoch = register(k, consumer, kept, lease, now)
  local swept = redis.call('HMGET', k.meta, 'swept', 'trimmed', 'keep')
  if now - (swept[1] or 0) > SWEEP_EVERY then sweep_ids(k, now) end
  if now - (swept[2] or 0) > TRIM_EVERY then trim(k, now, tonumber(swept[3] or HISTORY)) end
  local out = { epoch, 'deliveries', '0' }
  -- All that makes a difference to a plain read, asked for at once since there is usually none of it.
  local special = redis.call('EXISTS', k.due, k.schedule, k.suspect, k.ready, k.cancelled) > 0
  if special then promote(k, now) end
  if special and redis.call('EXISTS', k.suspect) == 1 then
    if running > 0 then
      out[2] = 'drain'
      return out
    end
    take_suspect(k, out, consumer, epoch, start, now)
    if #out > 3 then return out end
  end
  local ready = special and redis.call('EXISTS', k.ready) == 1
  local cancelled = special and redis.call('EXISTS', k.cancelled) == 1
  local room = limit
  for level = 5, 1, -1 do
    if room > 0 and ready then room = room - take_ready(k, out, level, room, consumer, epoch, now) end
    if room > 0 then room = room - take_new(k, out, level, room, consumer, epoch, cancelled, now) end
  end
  if k.healed then
    out[2] = 'healed'
  elseif #out == 3 then
    out[2] = 'idle'
    idle_until(k, out, now)
    return out
  elseif not special and not k.odd then
    out[2] = 'plain'
  end
  local marks = {}
  for i = 4 + 2 * start, #out, 2 do
    marks[#marks + 1] = string.match(out[i], '%d/[^/]+')
  end
  if #marks > 0 then redis.call('SADD', k.fetched, unpack(marks)) end
  return out
end

-- close: KEYS = meta. ARGV = group, consumer, epoch. Hands back what was not started.
local function close(keys, args)
  local k = names(keys[1], args[1])
  local consumer = args[2]
  local kept = redis.call('HGET', k.consumers, consumer)
  if not kept or string.match(kept, '^%d+') ~= args[3] then return 'stale' end
  local busy = false
  local all = each_held(k, consumer, function(token)
    if redis.call('SREM', k.fetched, token) == 0 then
      busy = true
    else
      give_to(k, token, '~')
      redis.call('ZADD', k.ready, rank(token), token)
    end
  end)
  if all and not busy then forget(k, consumer, now_ms()) end
  ring(k)
  return 'done'
end

-- held: KEYS = meta. ARGV = group, consumer, number of its last poll. Returns the tokens that the server thinks this
-- consumer holds. No poll adds to them any more that was asked before.
local function held(keys, args)
  local k, tokens = names(keys[1], args[1]), {}
  redis.call('HSET', k.consumers, given_up(args[2]), args[3])
  each_held(k, args[2], function(token) tokens[#tokens + 1] = token end)
  return tokens
end
