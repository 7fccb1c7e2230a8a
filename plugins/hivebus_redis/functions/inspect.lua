-- locate, peek, counts, dead, requeue, purge, cancel: answers, and what operators may change.
-- A row: id, state, attempts, consumer, reason, lease ms left, due ms left, accepted ms, level, entry, epoch, data.

local function text(value)
  return value and tostring(value) or ''
end

local function row_of(id, state, facts)
  return {
    id, state, text(facts.attempts or 0), text(facts.consumer), text(facts.reason), text(facts.lease), text(facts.due),
    text(facts.at), text(facts.level), text(facts.entry), text(facts.epoch), text(facts.data),
  }
end

local function entry_facts(stream, entry)
  local row = redis.call('XRANGE', stream, entry, entry)[1]
  return row and row[2]
end

local function dead_row(id, row)
  local fields = pairs_of(row[2])
  return row_of(id, fields.r == 'expired' and 'expired' or 'dead_lettered', {
    attempts = fields.a, reason = fields.r, at = string.match(fields.e or row[1], '^%d+'), level = fields.l, entry = row[1],
    data = fields.d,
  })
end

local function held_row(k, id, level, entry, pending, now, data)
  local token = level .. '/' .. entry
  local attempts = fate_of(k, token)
  local facts = { attempts = attempts, at = string.match(entry, '^%d+'), level = level, entry = entry, data = data }
  if pending[2] == '~' then
    local due = redis.call('ZSCORE', k.due, 'r' .. token)
    facts.due = due and math.max(0, due - now)
    return row_of(id, due and 'retrying' or 'queued', facts)
  end
  facts.attempts = attempts + 1
  facts.consumer = pending[2]
  facts.epoch = string.match(redis.call('HGET', k.consumers, pending[2]) or '0', '^%d+')
  local lease = redis.call('ZSCORE', k.lease, pending[2])
  facts.lease = lease and math.max(0, lease - now)
  return row_of(id, 'delivered', facts)
end

local function locate_one(k, id, now)
  local value = redis.call('GET', k.id .. id)
  if not value then return nil end
  local kind = string.sub(value, 1, 1)
  if value == 's' then
    local kept = redis.call('HGET', k.sched, id)
    if not kept then return nil end
    local level, data = string.match(kept, '^(%d):[^:]*:(.*)$')
    local due = redis.call('ZSCORE', k.schedule, 's' .. id)
    return row_of(id, 'scheduled', { level = level, data = data, due = due and math.max(0, due - now) })
  elseif value == 'c' then
    return row_of(id, 'cancelled', {})
  elseif kind == 'a' then
    return row_of(id, 'acknowledged', { attempts = string.sub(value, 2) })
  elseif kind == 'd' then
    local dead = string.sub(value, 2)
    local row = redis.call('XRANGE', k.dlq, dead, dead)[1]
    return row and dead_row(id, row)
  end
  local entry, level = placed(value)
  local stream = k.q .. level
  local fields = entry_facts(stream, entry)
  local data = fields and field(fields, 'd')
  local pending = redis.pcall('XPENDING', stream, k.group, entry, entry, 1)
  if pending[1] then return held_row(k, id, level, entry, pending[1], now, data) end
  local facts = { at = string.match(entry, '^%d+'), level = level, entry = entry, data = data }
  local group = groups_of(stream)[k.group]
  local deadline = fields and tonumber(field(fields, 'x') or '')
  local ahead = not group or #redis.call('XRANGE', stream, '(' .. group['last-delivered-id'], entry, 'COUNT', 1) > 0
  if ahead then return row_of(id, deadline and deadline <= now and 'expired' or 'queued', facts) end
  facts.attempts = 1
  return row_of(id, 'acknowledged', facts)
end

-- locate: KEYS = meta. ARGV = group, id...
local function locate(keys, args)
  local k = names(keys[1], args[1])
  local now, rows = now_ms(), {}
  for i = 2, #args do
    local row = locate_one(k, args[i], now)
    if row then rows[#rows + 1] = row end
  end
  return rows
end

-- peek: KEYS = meta. ARGV = group, limit. What is handed out first, then what waits, highest level first.
local function peek(keys, args)
  local k = names(keys[1], args[1])
  local now, limit, rows = now_ms(), tonumber(args[2]), {}
  for level = 5, 1, -1 do
    local stream = k.q .. level
    local group = groups_of(stream)[k.group]
    if group and #rows < limit then
      for _, pending in ipairs(redis.call('XPENDING', stream, k.group, '-', '+', limit - #rows)) do
        local fields = entry_facts(stream, pending[1]) or {}
        rows[#rows + 1] = held_row(k, id_of(fields), level, pending[1], pending, now, field(fields, 'd'))
      end
    end
    if #rows < limit then
      local last = group and group['last-delivered-id'] or '0-0'
      for _, row in ipairs(redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', limit - #rows)) do
        rows[#rows + 1] = row_of(id_of(row[2]), 'queued', {
          at = string.match(row[1], '^%d+'), level = level, entry = row[1], data = field(row[2], 'd'),
        })
      end
    end
  end
  return rows
end

-- counts: KEYS = meta. ARGV = group. Returns waiting, in flight, retrying, scheduled, dead, oldest ms or -1, consumers.
local function counts(keys, args)
  local k = names(keys[1], args[1])
  local now, waiting, pending, oldest = now_ms(), 0, 0, nil
  for level = 1, 5 do
    local stream = k.q .. level
    local group = groups_of(stream)[k.group]
    waiting = waiting + unread(stream, group)
    pending = pending + (group and group.pending or 0)
    local first = redis.call('XRANGE', stream, '(' .. (group and group['last-delivered-id'] or '0-0'), '+', 'COUNT', 1)[1]
    if first then oldest = math.min(oldest or now, tonumber(string.match(first[1], '^%d+'))) end
    local low = string.format('%.0f', (5 - level) * 1e13)
    local again = redis.call('ZRANGEBYSCORE', k.ready, low, string.format('%.0f', (6 - level) * 1e13 - 1), 'LIMIT', 0, 1)[1]
    if again then oldest = math.min(oldest or now, tonumber(string.match(again, '^%d/(%d+)'))) end
  end
  local returned = redis.call('ZCARD', k.ready) + redis.call('ZCARD', k.suspect)
  local scheduled = redis.call('HLEN', k.sched)
  local retrying = redis.call('ZCARD', k.due) - (k.due == k.schedule and scheduled or 0)
  return {
    waiting + returned, pending - returned - retrying, retrying, scheduled, redis.call('XLEN', k.dlq),
    oldest and math.max(0, now - oldest) or -1, redis.call('ZCOUNT', k.lease, now, '+inf'),
  }
end

-- dead: KEYS = meta. ARGV = limit. Newest first.
local function dead(keys, args)
  local k, rows = names(keys[1], 'main'), {}
  for _, row in ipairs(redis.call('XREVRANGE', k.dlq, '+', '-', 'COUNT', args[1])) do
    rows[#rows + 1] = dead_row(id_of(row[2]), row)
  end
  return rows
end

local function dead_entry(k, id)
  local value = redis.call('GET', k.id .. id)
  if not value or string.sub(value, 1, 1) ~= 'd' then return nil end
  return redis.call('XRANGE', k.dlq, string.sub(value, 2), string.sub(value, 2))[1]
end

-- requeue: KEYS = meta. ARGV = id... Queued again under the same id, its counts reset.
local function requeue(keys, args)
  local k, results = names(keys[1], 'main'), {}
  for i, id in ipairs(args) do
    local row = dead_entry(k, id)
    if row then
      local fields = pairs_of(row[2])
      add_entry(k, fields.l, id, fields.d)
      redis.call('HINCRBY', k.meta, 'n', 1)
      redis.call('XDEL', k.dlq, row[1])
    end
    results[i] = row and 1 or 0
  end
  return results
end

-- purge: KEYS = meta. ARGV = id... Deleted for good.
local function purge(keys, args)
  local k, results = names(keys[1], 'main'), {}
  for i, id in ipairs(args) do
    local row = dead_entry(k, id)
    if row then
      redis.call('XDEL', k.dlq, row[1])
      redis.call('DEL', k.id .. id)
    end
    results[i] = row and 1 or 0
  end
  return results
end

-- cancel: KEYS = meta. ARGV = id... Only what nobody was handed yet. An entry is marked, never deleted from its
-- stream: a deletion ahead of the group would lose the server's own count of unread entries.
local function cancel(keys, args)
  local k, now, results = names(keys[1], 'main'), now_ms(), {}
  for i, id in ipairs(args) do
    local row = locate_one(k, id, now)
    results[i] = 0
    if row and row[2] == 'scheduled' then
      redis.call('HDEL', k.sched, id)
      redis.call('ZREM', k.schedule, 's' .. id)
      results[i] = 1
    elseif row and row[2] == 'queued' and row[3] == '0' then
      redis.call('SADD', k.cancelled, row[9] .. '/' .. row[10])
      results[i] = 1
    end
    if results[i] == 1 then redis.call('SET', k.id .. id, 'c', 'PX', DEDUP) end
  end
  return results
end
