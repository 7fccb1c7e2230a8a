-- publish: KEYS = meta, index of inboxes. ARGV = inbox, max messages, max bytes, then per message:
-- id, level, delay in ms, ttl in ms or "", data.
-- Returns "<readers> <idle ms or -1>" and one letter per message: 1 stored, 2 duplicate, 3 scheduled, 0 full.

local function backlog(k)
  local count = redis.call('HLEN', k.sched)
  for level = 1, 5 do
    local stream = k.q .. level
    local group = groups_of(stream)[k.group]
    count = count + unread(stream, group) + (group and group.pending or 0)
  end
  return count
end

-- The ids of the call that are known already. Usually none is, which one command finds out for all.
local function known_ids(k, args)
  local keys, found = {}, {}
  for i = 4, #args, 5 do keys[#keys + 1] = k.id .. args[i] end
  if redis.call('EXISTS', unpack(keys)) > 0 then
    for i = 4, #args, 5 do found[args[i]] = redis.call('EXISTS', k.id .. args[i]) == 1 end
  end
  return found
end

local function publish(keys, args)
  local k = names(keys[1], 'main')
  local now = now_ms()
  local max_count, max_bytes = tonumber(args[2]), tonumber(args[3])
  local known = redis.call('HMGET', k.meta, 'n', 'b', 'seen')
  if not known[1] then redis.call('SADD', keys[2], args[1]) end
  -- Upper bounds: settled messages still count until a recount is due, which happens only near a limit.
  local count, bytes = tonumber(known[1] or 0), tonumber(known[2] or 0)
  local incoming, size = (#args - 3) / 5, 0
  for i = 8, #args, 5 do size = size + #args[i] end
  if count + incoming > max_count or bytes + size > max_bytes then
    local truth = backlog(k)
    bytes = count > 0 and bytes * math.min(1, truth / count) or 0
    count = truth
  end
  local results, fresh, is_known = {}, {}, known_ids(k, args)
  for i = 4, #args, 5 do
    local id, level, delay, data = args[i], args[i + 1], tonumber(args[i + 2]), args[i + 4]
    if is_known[id] then
      results[#results + 1] = '2'
    elseif count + 1 > max_count or bytes + #data > max_bytes then
      results[#results + 1] = '0'
    else
      is_known[id] = true
      count = count + 1
      bytes = bytes + #data
      fresh[#fresh + 1] = k.id .. id
      local deadline = args[i + 3] ~= '' and now + args[i + 3]
      if delay > 0 then
        redis.call('HSET', k.sched, id, level .. ':' .. (deadline and string.format('%.0f', deadline) or '') .. ':' .. data)
        add_due(k, k.schedule, now + delay, 's' .. id)
        fresh[#fresh + 1] = 's'
        results[#results + 1] = '3'
      else
        fresh[#fresh + 1] = append(k, level, id, data, deadline)
        results[#results + 1] = '1'
      end
    end
  end
  if #fresh > 0 then redis.call('MSET', unpack(fresh)) end
  redis.call('HSET', k.meta, 'n', count, 'b', string.format('%.0f', bytes))
  local readers = redis.call('ZCOUNT', k.lease, now, '+inf')
  local idle = known[3] and math.max(0, now - known[3]) or -1
  return { readers .. ' ' .. idle, table.concat(results) }
end
