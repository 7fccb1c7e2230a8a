-- How deep an inbox is and since when: asked by an operator, and told to a sender that is refused.

-- The oldest entries of a level that nobody was handed and nobody took back.
local function first_unread(k, level, group, limit)
  local rows, last = {}, group and group['last-delivered-id'] or '0-0'
  repeat
    local read = redis.call('XRANGE', k.q .. level, '(' .. last, '+', 'COUNT', limit)
    for _, row in ipairs(read) do
      if #rows < limit and redis.call('SISMEMBER', k.cancelled, level .. '/' .. row[1]) == 0 then rows[#rows + 1] = row end
    end
    last = #read > 0 and read[#read][1]
  until #rows == limit or #read < limit
  return rows
end

-- Since when the oldest waiting message waits, in ms; nil when none does.
local function oldest_waiting(k)
  local oldest
  local function note(entry) oldest = math.min(oldest or math.huge, tonumber(string.match(entry, '^%d+'))) end
  for level = 1, 5 do
    local first = first_unread(k, level, groups_of(k.q .. level)[k.group], 1)[1]
    if first then note(first[1]) end
    local low, high = (5 - level) * 1e13, (6 - level) * 1e13 - 1
    local again = redis.call('ZRANGEBYSCORE', k.ready, string.format('%.0f', low), string.format('%.0f', high), 'LIMIT', 0, 1)[1]
    if again then note(string.sub(again, 3)) end
  end
  return oldest
end
