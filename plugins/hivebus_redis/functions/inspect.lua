-- locate, peek, counts, dead, requeue, purge, cancel: answers, and what operators may change.
-- A row: id, state, attempts, consumer, reason, lease ms left, due ms left, accepted ms, level, entry, epoch, data,
-- requeued how often, outcome.

local function text(value)
  return value and tostring(value) or ''
end

local function row_of(id, state, facts)
  return {
    id, state, text(facts.attempts or 0), text(facts.consumer), text(facts.reason), text(facts.lease), text(facts.due),
    text(facts.at), text(facts.level), text(facts.entry), text(facts.epoch), text(facts.data),
    text(facts.requeued or 0), text(facts.outcome),
  }
end

local function dead_row(id, row)
  local fields = pairs_of(row[2])
  return row_of(id, fields.r == 'expired' and 'expired' or 'dead_lettered', {
    attempts = fields.a, reason = fields.r, at = string.match(fields.e or row[1], '^%d+'), level = fields.l, entry = row[1],
    data = fields.d, requeued = generation(row[2]),
  })
end

local function held_row(k, id, level, entry, pending, now, fields)
  local token = level .. '/' .. entry
  local attempts = fate_of(k, token)
  local facts = {
    attempts = attempts, at = string.match(entry, '^%d+'), level = level, entry = entry, data = field(fields, 'd'),
    requeued = generation(fields),
  }
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

local function locate_one(k, id, now, met)
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
  elseif kind == 'o' then
    local attempts, outcome = string.match(value, '^o(%d+):(.*)$')
    return row_of(id, 'acknowledged', { attempts = attempts, outcome = outcome })
  elseif kind == 'd' then
    local dead = string.sub(value, 2)
    local row = redis.call('XRANGE', k.dlq, dead, dead)[1]
    return row and dead_row(id, row)
  end
  local level, entry, fields, latest = find(k, id, value, met)
  local stream = k.q .. level
  if not entry then
    local state = holds_deleted(k, stream, latest) and 'delivered' or 'acknowledged'
    return row_of(id, state, { attempts = 1, at = string.match(latest, '^%d+'), level = level })
  end
  local pending = redis.pcall('XPENDING', stream, k.group, entry, entry, 1)
  if pending[1] then return held_row(k, id, level, entry, pending[1], now, fields) end
  local facts = {
    at = string.match(entry, '^%d+'), level = level, entry = entry, data = field(fields, 'd'), requeued = generation(fields),
  }
  local group = groups_of(stream)[k.group]
  local deadline = tonumber(field(fields, 'x') or '')
  local ahead = not group or #redis.call('XRANGE', stream, '(' .. group['last-delivered-id'], entry, 'COUNT', 1) > 0
  if ahead then return row_of(id, deadline and deadline <= now and 'expired' or 'queued', facts) end
  facts.attempts = 1
  return row_of(id, 'acknowledged', facts)
end

-- locate: KEYS = meta. ARGV = group, id...
local function locate(keys, args)
  local k = names(keys[1], args[1])
  local now, rows, met = now_ms(), {}, {}
  for i = 2, #args do
    local row = locate_one(k, args[i], now, met)
    if row then rows[#rows + 1] = row end
  end
  return rows
end

-- What is handed out, whatever waits in front of it.
local function handed_out(k, limit, now)
  local rows = {}
  for level = 5, 1, -1 do
    local stream, from, page = k.q .. level, '-', {}
    repeat
      page = redis.pcall('XPENDING', stream, k.group, from, '+', CHUNK)
      for _, pending in ipairs(page) do
        if pending[2] ~= '~' and #rows < limit then
          local fields = entry_facts(stream, pending[1]) or {}
          rows[#rows + 1] = held_row(k, id_of(fields), level, pending[1], pending, now, fields)
        end
      end
      from = #page > 0 and '(' .. page[#page][1]
    until #page < CHUNK or #rows >= limit
  end
  return rows
end

-- peek: KEYS = meta. ARGV = group, limit, perhaps "held" for what is handed out alone. What is handed out first, then what
-- waits, highest level first.
local function peek(keys, args)
  local k = names(keys[1], args[1])
  local now, limit, rows = now_ms(), tonumber(args[2]), {}
  if args[3] == 'held' then return handed_out(k, limit, now) end
  for level = 5, 1, -1 do
    local stream = k.q .. level
    local group = groups_of(stream)[k.group]
    if group and #rows < limit then
      for _, pending in ipairs(redis.call('XPENDING', stream, k.group, '-', '+', limit - #rows)) do
        local fields = entry_facts(stream, pending[1]) or {}
        rows[#rows + 1] = held_row(k, id_of(fields), level, pending[1], pending, now, fields)
      end
    end
    if #rows < limit then
      for _, row in ipairs(first_unread(k, level, group, limit - #rows)) do
        rows[#rows + 1] = row_of(id_of(row[2]), 'queued', {
          at = string.match(row[1], '^%d+'), level = level, entry = row[1], data = field(row[2], 'd'),
          requeued = generation(row[2]),
        })
      end
    end
  end
  return rows
end

-- counts: KEYS = meta. ARGV = group. Returns waiting, in flight, retrying, scheduled, dead, oldest ms or -1, consumers.
local function counts(keys, args)
  local k = names(keys[1], args[1])
  local now, waiting, pending, oldest = now_ms(), -redis.call('SCARD', k.cancelled), 0, oldest_waiting(k)
  for level = 1, 5 do
    local stream = k.q .. level
    local group = groups_of(stream)[k.group]
    waiting = waiting + unread(stream, group)
    pending = pending + (group and group.pending or 0)
  end
  local returned = redis.call('ZCARD', k.ready) + redis.call('ZCARD', k.suspect)
  local scheduled = redis.call('HLEN', k.sched)
  local retrying = redis.call('ZCARD', k.due) - (k.due == k.schedule and scheduled or 0)
  return {
    math.max(0, waiting) + returned, pending - returned - retrying, retrying, scheduled, redis.call('XLEN', k.dlq),
    oldest and math.max(0, now - oldest) or -1, redis.call('ZCOUNT', k.lease, now, '+inf'),
  }
end

-- A letter is named by the id of its message, or by "dead/<entry>", which also those have that came without an id.
local function letter_entry(name)
  return string.match(name, '^dead/(%d+%-%d+)$')
end

-- dead: KEYS = meta. ARGV = limit, name of the letter behind which to go on, or "". Newest first.
local function dead(keys, args)
  local k, rows = names(keys[1], 'main'), {}
  local before = args[2] == '' and '+' or '(' .. (letter_entry(args[2]) or '0-1')
  for _, row in ipairs(redis.call('XREVRANGE', k.dlq, before, '-', 'COUNT', args[1])) do
    rows[#rows + 1] = dead_row(id_of(row[2]), row)
  end
  return rows
end

-- Returns the entry of a letter, its fields and the id of its message, and what is kept under that id.
local function find_letter(k, name)
  local kept
  local entry = letter_entry(name)
  if not entry then
    kept = redis.call('GET', k.id .. name)
    if not kept or string.sub(kept, 1, 1) ~= 'd' then return nil end
    entry = string.sub(kept, 2)
  end
  local row = redis.call('XRANGE', k.dlq, entry, entry)[1]
  if not row then return nil end
  local id = id_of(row[2])
  return entry, row[2], id, kept or (id ~= '' and redis.call('GET', k.id .. id))
end

-- Whether a letter may be queued: under its id nothing else may be known, or there would be two messages of one id.
local function can_return(entry, fields, id, kept)
  local level, data = field(fields, 'l'), field(fields, 'd')
  return id ~= '' and data and string.match(level or '', '^[1-5]$') and (not kept or kept == 'd' .. entry)
end

local function send_back(k, entry, fields, id)
  local level, data = field(fields, 'l'), field(fields, 'd')
  local again = redis.call('XADD', k.q .. level, '*', 'i', id, 'd', data, 'g', generation(fields) + 1)
  redis.call('SET', k.id .. id, place(again, level))
  redis.call('HINCRBY', k.meta, 'n', 1)
  redis.call('HINCRBY', k.meta, 'b', #data)
  redis.call('XDEL', k.dlq, entry)
end

-- requeue: KEYS = meta. ARGV = name of a letter... Queued again under the same id at its level: its counts begin anew,
-- and it has no deadline any more. A full inbox does not refuse what an operator wants back.
local function requeue(keys, args)
  local k, results = names(keys[1], 'main'), {}
  for i, name in ipairs(args) do
    local entry, fields, id, kept = find_letter(k, name)
    local possible = entry and can_return(entry, fields, id, kept)
    if possible then send_back(k, entry, fields, id) end
    results[i] = possible and 1 or 0
  end
  return results
end

-- purge: KEYS = meta. ARGV = name of a letter... Deleted for good: its id is free again.
local function purge(keys, args)
  local k, results = names(keys[1], 'main'), {}
  for i, name in ipairs(args) do
    local entry, _, id, kept = find_letter(k, name)
    if entry then
      redis.call('XDEL', k.dlq, entry)
      if kept == 'd' .. entry then redis.call('DEL', k.id .. id) end
    end
    results[i] = entry and 1 or 0
  end
  return results
end

-- What was handed back without being started is settled here; an entry that is still unread is only marked, since a
-- deletion ahead of the group would lose the server's own count of unread entries.
local function take_back(k, level, entry)
  local token = level .. '/' .. entry
  if redis.call('ZREM', k.ready, token) == 1 then
    redis.call('XACK', k.q .. level, k.group, entry)
    redis.call('HDEL', k.fate, token)
    mark_unhandled(k, level, entry)
  else
    redis.call('SADD', k.cancelled, token)
  end
end

-- cancel: KEYS = meta. ARGV = id... Only what nobody works on and nobody ever started.
local function cancel(keys, args)
  local k, now, results, met = names(keys[1], 'main'), now_ms(), {}, {}
  for i, id in ipairs(args) do
    local row = locate_one(k, id, now, met)
    results[i] = 0
    if row and row[2] == 'scheduled' then
      redis.call('HDEL', k.sched, id)
      redis.call('ZREM', k.schedule, 's' .. id)
      results[i] = 1
    elseif row and row[2] == 'queued' and row[3] == '0' then
      take_back(k, row[9], row[10])
      results[i] = 1
    end
    if results[i] == 1 then redis.call('SET', k.id .. id, 'c', 'PX', DEDUP) end
  end
  return results
end
