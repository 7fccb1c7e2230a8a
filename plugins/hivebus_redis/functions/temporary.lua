-- drop and answers: the end of a temporary inbox, and what is remembered of it.
--
--   answers   of an agent: stream of the answers that were accepted in its temporary inboxes, for who looks at a
--             conversation; fields: t = the inbox, e = its entry there, l = level, i and d as in an inbox. It goes when
--             nothing was added for a day.

local ANSWERS = 200

local function is_forsaken(k, now)
  for _, consumer in ipairs(redis.call('ZRANGE', k.lease, 0, -1)) do
    local ends = tonumber(redis.call('ZSCORE', k.lease, consumer))
    if ends >= now or spare(k, consumer, now) then return false end
  end
  return true
end

local function note_arrival(o, index, size)
  if redis.call('HINCRBY', o.meta, 'n', 1) == 1 then redis.call('SADD', index, string.match(o.meta, '{(.*)}')) end
  redis.call('HINCRBY', o.meta, 'b', size)
end

-- What nobody took is the agent's; what it has already under that id is not added twice.
local function pass_on(o, index, level, fields)
  local id, data = id_of(fields), field(fields, 'd') or ''
  if id ~= '' and redis.call('EXISTS', o.id .. id) == 1 then return 0 end
  note_arrival(o, index, #data)
  if id ~= '' then
    add_entry(o, level, id, data, field(fields, 'x'))
  else
    redis.call('XADD', o.q .. level, '*', unpack(fields))
  end
  return 1
end

-- Its id stays known for as long as any other: who answers twice is told so.
local function remember(k, o, level, row, now)
  local inbox, id = string.match(k.meta, '{(.*)}'), id_of(row[2])
  local left = ms_of(row[1]) + DEDUP - now
  if id ~= '' and left > 0 then redis.call('SET', o.id .. id, 'a1', 'PX', left, 'NX') end
  redis.call('XADD', o.base .. 'answers', 'MAXLEN', ANSWERS, '*', 't', inbox, 'e', row[1], 'l', level,
    'i', id, 'd', field(row[2], 'd') or '')
  redis.call('PEXPIRE', o.base .. 'answers', HISTORY)
end

local function forget_id(k, id)
  if id ~= '' then redis.call('UNLINK', k.id .. id) end
end

-- Empties one level as far as *limit* allows. Returns how many entries it looked at, and how many were passed on.
local function drop_level(k, o, index, level, limit, now)
  local stream = k.q .. level
  local rows = redis.call('XRANGE', stream, '-', '+', 'COUNT', limit)
  if #rows == 0 then return 0, 0 end
  local group, held, moved = groups_of(stream)[k.group], {}, 0
  local last = group and group['last-delivered-id'] or '0-0'
  if group and group.pending > 0 then
    for _, row in ipairs(redis.call('XPENDING', stream, k.group, rows[1][1], rows[#rows][1], #rows)) do held[row[1]] = true end
  end
  for _, row in ipairs(rows) do
    local entry, token = row[1], level .. '/' .. row[1]
    local is_over = redis.call('ZSCORE', k.unhandled, token) or redis.call('SISMEMBER', k.cancelled, token) == 1
    -- Before its agent's is looked for: they are two keys, and only one of them goes.
    forget_id(k, id_of(row[2]))
    if not is_over and (held[entry] or is_before(last, entry)) then
      moved = moved + pass_on(o, index, level, row[2])
    elseif not is_over then
      remember(k, o, level, row, now)
    end
  end
  redis.call('XTRIM', stream, 'MINID', behind(rows[#rows][1]))
  return #rows, moved
end

local function drop_letters(k, o, limit)
  local rows = redis.call('XRANGE', k.dlq, '-', '+', 'COUNT', limit)
  for _, row in ipairs(rows) do
    local dead, id = redis.call('XADD', o.dlq, '*', unpack(row[2])), id_of(row[2])
    forget_id(k, id)
    if id ~= '' then redis.call('SET', o.id .. id, 'd' .. dead, 'PX', DEAD_KEPT, 'NX') end
    redis.call('XDEL', k.dlq, row[1])
  end
  return #rows
end

local function drop_scheduled(k, o, index, limit)
  local members, count = redis.call('ZRANGE', k.schedule, 0, limit - 1, 'WITHSCORES'), 0
  for i = 1, #members, 2 do
    local kind, id = string.sub(members[i], 1, 1), string.sub(members[i], 2)
    local kept = kind == 's' and redis.call('HGET', k.sched, id)
    if kept and redis.call('SET', o.id .. id, 's', 'NX') then
      note_arrival(o, index, #kept)
      redis.call('HSET', o.sched, id, kept)
      add_due(o, o.schedule, tonumber(members[i + 1]), members[i])
    end
    if kept then forget_id(k, id) end
    redis.call('HDEL', k.sched, id)
    redis.call('ZREM', k.schedule, members[i])
    count = count + 1
  end
  return count
end

-- Ids whose entries were trimmed before their window was over.
local function drop_ids(k, limit)
  local rows = redis.call('XRANGE', k.done, '-', '+', 'COUNT', limit)
  for _, row in ipairs(rows) do
    for id in string.gmatch(row[2][2], '%S+') do forget_id(k, id) end
    redis.call('XDEL', k.done, row[1])
  end
  return #rows
end

local function drop_rest(k, inbox, index)
  local own = { k.meta, k.sched, k.schedule, k.dlq, k.cancelled, k.bell, k.done, k.unhandled, k.ttl, k.gone, k.ready, k.suspect,
    k.fetched, k.alone, k.fate, k.lease, k.consumers }
  for level = 1, 5 do own[#own + 1] = k.q .. level end
  redis.call('UNLINK', unpack(own))
  redis.call('SREM', index, inbox)
end

-- drop: KEYS = meta of a temporary inbox, index of inboxes, meta of its agent. ARGV = "closed" by its reader, or
-- "forsaken" to drop it only when no reader is left; how many entries to look at. What nobody took goes to the agent.
-- Returns how many went there, and 1 when a further call has something to do.
local function drop(keys, args)
  local k, o, now = names(keys[1], 'main'), names(keys[3], 'main'), now_ms()
  if args[1] == 'forsaken' and not is_forsaken(k, now) then return { 0, 0 } end
  -- From here on, what is sent to it goes to the agent.
  redis.call('UNLINK', k.lease, k.consumers)
  local moved, room = 0, tonumber(args[2])
  for level = 5, 1, -1 do
    if room > 0 then
      local looked, passed = drop_level(k, o, keys[2], level, room, now)
      room, moved = room - looked, moved + passed
    end
  end
  if room > 0 then room = room - drop_letters(k, o, room) end
  if room > 0 then room = room - drop_scheduled(k, o, keys[2], room) end
  if room > 0 then room = room - drop_ids(k, room) end
  if room > 0 then drop_rest(k, string.match(k.meta, '{(.*)}'), keys[2]) end
  return { moved, room > 0 and 0 or 1 }
end

-- answers: KEYS = meta of an agent. ARGV = one of its temporary inboxes, first and last ms. Those that were accepted there.
local function answers(keys, args)
  local k, rows = names(keys[1], 'main'), {}
  for _, row in ipairs(redis.call('XRANGE', k.base .. 'answers', '-', '+')) do
    local kept = pairs_of(row[2])
    local at = ms_of(kept.e)
    if kept.t == args[1] and at >= tonumber(args[2]) and at <= tonumber(args[3]) then
      rows[#rows + 1] = row_of(kept.i, 'acknowledged', { attempts = 1, at = at, level = kept.l, entry = kept.e, data = kept.d })
    end
  end
  return rows
end
