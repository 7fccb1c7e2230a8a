-- What may be forgotten: settled entries in front of everything that is not settled, and nothing else. holding
-- tells how much that is and what stands in the way, shed takes some of it away.

local function parts_of(entry)
  local ms, seq = string.match(entry, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local function is_before(entry, other)
  local ms, seq = parts_of(entry)
  local other_ms, other_seq = parts_of(other)
  return ms < other_ms or (ms == other_ms and seq < other_seq)
end

local function behind(entry)
  local ms, seq = string.match(entry, '^(%d+)-(%d+)$')
  return ms .. '-' .. string.format('%.0f', seq + 1)
end

local function ms_of(entry)
  return tonumber(string.match(entry, '^%d+'))
end

-- What is in front of this entry is settled in every group. While our own group is not there, nobody has read
-- anything: nothing may go, whatever other groups have done.
local function safe_cut(stream)
  local groups, cut = groups_of(stream), nil
  if not groups.main then return nil end
  for name, group in pairs(groups) do
    local first = behind(group['last-delivered-id'])
    local oldest = redis.call('XPENDING', stream, name)[2]
    if oldest and is_before(oldest, first) then first = oldest end
    if not cut or is_before(first, cut) then cut = first end
  end
  return cut
end

-- Counted, so that what is missing besides was taken by somebody else.
local function forget_before(k, level, cut)
  local count = redis.call('XTRIM', k.q .. level, 'MINID', cut)
  if count > 0 then redis.call('HINCRBY', k.meta, 't' .. level, count) end
  return count
end

local function first_entry(stream)
  local row = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  return row and row[1]
end

-- Marks of entries that are no longer there mean nothing.
local function forget_marks_of_trimmed(k, now)
  if redis.call('EXISTS', k.unhandled) == 0 then return end
  local oldest = now
  for level = 1, 5 do
    local entry = first_entry(k.q .. level)
    if entry then oldest = math.min(oldest, ms_of(entry)) end
  end
  redis.call('ZREMRANGEBYSCORE', k.unhandled, '-inf', '(' .. string.format('%.0f', oldest))
end

local function trim(k, now, keep)
  local before, count = string.format('%.0f-0', math.max(0, now - keep)), 0
  for level = 1, 5 do
    local cut = safe_cut(k.q .. level)
    if cut then count = count + forget_before(k, level, is_before(before, cut) and before or cut) end
  end
  redis.call('XTRIM', k.dlq, 'MINID', string.format('%.0f', now - DEAD_KEPT))
  forget_marks_of_trimmed(k, now)
  redis.call('HSET', k.meta, 'trimmed', now)
  return count
end

-- The level with the oldest entry that may go, where it begins and where it ends; cursors stand behind what a dry
-- run has counted already.
local function oldest_settled(k, before, cursors)
  local found
  for level = 1, 5 do
    local stream = k.q .. level
    local cut = safe_cut(stream)
    if cut then
      local stop = '(' .. (is_before(before, cut) and before or cut)
      local start = cursors[level] ~= '' and '(' .. cursors[level] or '-'
      local row = redis.call('XRANGE', stream, start, stop, 'COUNT', 1)[1]
      if row and (not found or ms_of(row[1]) < found.ms) then
        found = { level = level, ms = ms_of(row[1]), start = start, stop = stop }
      end
    end
  end
  return found
end

local function bytes_of(stream)
  return redis.call('MEMORY', 'USAGE', stream) or 0
end

-- shed: KEYS = meta. ARGV = age in ms, limit, bytes wanted or "", "1" for a dry run, cursors of the levels 1 to 5.
-- Takes the oldest settled entries of one level away, as many as free the bytes that are wanted. Returns how many,
-- their bytes, the ms of the first and of the last, the ms of what may go next or "", and the cursors.
local function shed(keys, args)
  local k, now = names(keys[1], 'main'), now_ms()
  local before, limit = string.format('%.0f-0', math.max(0, now - args[1])), tonumber(args[2])
  local cursors = { args[5], args[6], args[7], args[8], args[9] }
  local found = oldest_settled(k, before, cursors)
  if not found then return { 0, 0, '', '', '', unpack(cursors) } end
  local stream, level = k.q .. found.level, found.level
  local each = bytes_of(stream) / redis.call('XLEN', stream)
  if args[3] ~= '' then limit = math.max(1, math.min(limit, math.ceil(args[3] / each))) end
  local rows = redis.call('XRANGE', stream, found.start, found.stop, 'COUNT', limit)
  local last = rows[#rows][1]
  cursors[level] = last
  if args[4] ~= '1' then forget_before(k, level, behind(last)) end
  local next = oldest_settled(k, before, cursors)
  local first_ms, last_ms = string.match(rows[1][1], '^%d+'), string.match(last, '^%d+')
  return { #rows, math.floor(#rows * each), first_ms, last_ms, next and string.format('%.0f', next.ms) or '', unpack(cursors) }
end

-- What the oldest entry waits for that a group keeps: its kind, who has it, and for how many ms.
local function blocker_of(k, level, name, group)
  local stream = k.q .. level
  local held = group.pending > 0 and redis.call('XPENDING', stream, name, '-', '+', 1)[1]
  local row = redis.call('XRANGE', stream, '(' .. group['last-delivered-id'], '+', 'COUNT', 1)[1]
  if held then
    local fields = redis.call('XRANGE', stream, held[1], held[1])[1]
    local token = level .. '/' .. held[1]
    local kind = 'held'
    if held[2] == '~' then kind = redis.call('ZSCORE', k.due, 'r' .. token) and 'retrying' or 'unread' end
    return { kind, level, name, kind == 'held' and held[2] or '', fields and id_of(fields[2]) or '', ms_of(held[1]), held[3], group.pending }
  elseif row then
    return { 'unread', level, name, '', id_of(row[2]), ms_of(row[1]), 0, unread(stream, group) }
  end
end

-- holding: KEYS = meta. Returns bytes, the ms of the oldest settled entry or "", the ms of now, how many were lost
-- and how many taken by others, then what stands in the way of a trim.
local function holding(keys)
  local k, now, bytes, blockers = names(keys[1], 'main'), now_ms(), 0, {}
  for level = 1, 5 do
    local stream = k.q .. level
    if redis.call('EXISTS', stream) == 1 then
      bytes = bytes + bytes_of(stream)
      local groups = groups_of(stream)
      groups.main = groups.main or { ['last-delivered-id'] = '0-0', pending = 0, lag = false }
      for name, group in pairs(groups) do
        blockers[#blockers + 1] = blocker_of(k, level, name, group)
      end
    end
  end
  local found = oldest_settled(k, string.format('%.0f-0', now), { '', '', '', '', '' })
  local known = redis.call('HMGET', k.meta, 'lost', 'removed')
  return { bytes, found and string.format('%.0f', found.ms) or '', now, tonumber(known[1] or 0), tonumber(known[2] or 0), blockers }
end
