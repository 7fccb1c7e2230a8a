-- publish: KEYS = meta, index of inboxes, for a temporary inbox the meta of its agent. ARGV = inbox, max messages, max bytes, then runs of messages that have
-- their options in common: count, level, delay in ms, ttl in ms or "", then id and data of each.
-- Returns "<readers> <idle ms or -1> <changes of routes>" and one letter per message: 1 stored, 2 duplicate, 3 scheduled, 0 full; where one
-- is full, then "<unsettled messages> <their bytes> <ms that the oldest has waited, or -1>".

local function backlog(k)
  -- What was taken back is still in its stream, until a reader passes it over.
  local count = redis.call('HLEN', k.sched) - redis.call('SCARD', k.cancelled)
  for level = 1, 5 do
    local stream = k.q .. level
    local group = groups_of(stream)[k.group]
    count = count + unread(stream, group) + (group and group.pending or 0)
  end
  return math.max(0, count)
end

-- Where each run is, in parts that may share a place, the keys of the ids in their order, and the size of all data.
local function parse(k, args)
  local runs, keys, size, at = {}, {}, 0, 4
  while at <= #args do
    local last = at + 3 + 2 * args[at]
    for first = at + 4, last, 2 * TOGETHER do
      runs[#runs + 1] = {
        first = first, last = math.min(first + 2 * TOGETHER - 1, last),
        level = args[at + 1], delay = tonumber(args[at + 2]), ttl = args[at + 3],
      }
    end
    for i = at + 4, last, 2 do
      keys[#keys + 1] = k.id .. args[i]
      size = size + #args[i + 1]
    end
    at = last + 1
  end
  return runs, keys, size
end

-- The ids of the call that are known already, by their keys. Usually none is, which one command finds out for all.
local function known_keys(keys)
  local found = {}
  if redis.call('EXISTS', unpack(keys)) > 0 then
    for _, key in ipairs(keys) do found[key] = redis.call('EXISTS', key) == 1 end
  end
  return found
end

local function schedule(k, id, run, deadline, data, now)
  redis.call('HSET', k.sched, id, run.level .. ':' .. (deadline and string.format('%.0f', deadline) or '') .. ':' .. data)
  add_due(k, k.schedule, after(now, run.delay), 's' .. id)
end

-- For how long nobody has read the inbox; -1 for ever. Who died without a word was there until the end of its lease.
local function idle_for(k, seen, now)
  local lease = redis.call('ZRANGE', k.lease, -1, -1, 'WITHSCORES')[2]
  local last = math.max(tonumber(seen or -1), tonumber(lease or -1))
  return last < 0 and -1 or string.format('%.0f', math.max(0, now - last))
end

-- The counter is beside the index of inboxes, in the same slot.
local function changes(index)
  return redis.call('GET', (string.gsub(index, 'inboxes$', 'changes'))) or '0'
end

-- One letter per message: those that are *special*, and 1 for all others.
local function letters(special, count)
  if not next(special) then return string.rep('1', count) end
  for n = 1, count do special[n] = special[n] or '1' end
  return table.concat(special)
end

local function publish(keys, args)
  local k, inbox = addressed(keys, args[1])
  local now = now_ms()
  local max_count, max_bytes = tonumber(args[2]), tonumber(args[3])
  local known = redis.call('HMGET', k.meta, 'n', 'b', 'seen')
  if not known[1] then redis.call('SADD', keys[2], inbox) end
  local runs, ids, size = parse(k, args)
  -- Upper bounds: settled messages still count until a recount is due, which happens only near a limit.
  local count, bytes = tonumber(known[1] or 0), tonumber(known[2] or 0)
  local is_tight = count + #ids > max_count or bytes + size > max_bytes
  if is_tight then
    local truth = backlog(k)
    bytes = count > 0 and bytes * math.min(1, truth / count) or 0
    count = truth
  end
  local special, fresh, n, f, is_known, full = {}, {}, 0, 0, known_keys(ids), false
  for _, run in ipairs(runs) do
    local stream, delay = k.q .. run.level, run.delay
    local deadline = run.ttl ~= '' and now + run.ttl
    local extra, first, last = until_then(deadline), f, nil
    for i = run.first, run.last, 2 do
      n = n + 1
      local id, data, key = args[i], args[i + 1], ids[n]
      if is_known[key] then
        special[n] = '2'
      elseif is_tight and (count + 1 > max_count or bytes + #data > max_bytes) then
        special[n], full = '0', true
      else
        is_known[key] = true
        count = count + 1
        bytes = bytes + #data
        if delay > 0 then
          schedule(k, id, run, deadline, data, now)
          special[n] = '3'
        else
          last = redis.call('XADD', stream, '*', 'i', id, 'd', data, unpack(extra))
        end
        fresh[f + 1], fresh[f + 2] = key, 's'
        f = f + 2
      end
    end
    if last then put_places(fresh, first, last, run.level) end
  end
  if f > 0 then redis.call('MSET', unpack(fresh)) end
  redis.call('HSET', k.meta, 'n', count, 'b', string.format('%.0f', bytes))
  local readers = redis.call('ZCOUNT', k.lease, now, '+inf')
  local answer = { readers .. ' ' .. (readers == 0 and idle_for(k, known[3], now) or 0) .. ' ' .. changes(keys[2]), letters(special, n) }
  if full then
    local oldest = oldest_waiting(k)
    answer[3] = string.format('%.0f %.0f %.0f', count, bytes, oldest and math.max(0, now - oldest) or -1)
  end
  return answer
end
