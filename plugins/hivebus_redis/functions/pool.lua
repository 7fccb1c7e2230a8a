-- Shares the inbox of a pool among its members when it hands out. What nobody has taken belongs to nobody, so a member
-- that dies, leaves or is slow holds nothing back; all that is decided here is how much one call may take.
--
--   pool   hash consumer -> "level asked wants held lags excused slow" (times in ms, 0 is never)
--     level     how much it was given, counted from the least of those that were there when it came
--     asked     its last call; wants: how much room it had left then, 0 when it is busy
--     held      since when it waits because it is somebody else's turn
--     lags      since when it is LEAD behind although it could take what it wants; excused: until when nobody minds, and
--               slow: for how long nobody minded the last time
--
-- A member that wants more comes before those that are ahead of it, for PATIENCE: then it is not waited for any more
-- until it asks again. Whoever is LEAD ahead of one that is busy goes on message by message, one in PATIENCE, so that it may
-- catch up, and with all speed once it has shown that it is slow.

local PATIENCE = 10
local LEAD = 100
-- One that has lagged for so long is slow for a second, and each time that it goes on so for twice as long, found out sooner.
local SLOW_AFTER, STILL_SLOW_AFTER = 200, 50
local SLOW_FOR, SLOW_AT_MOST = 1000, 60000
-- A waiting reader asks every 5 s; a busy one that has not asked for a while is no match for anybody.
local ABSENT, RECENT = 15000, 1000

local function members_of(k, now)
  local members, flat = {}, redis.call('HGETALL', k.pool)
  for i = 1, #flat, 2 do
    local level, asked, wants, held, lags, excused, slow =
      string.match(flat[i + 1], '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
    if now - asked > ABSENT then
      redis.call('HDEL', k.pool, flat[i])
    else
      members[flat[i]] = {
        level = tonumber(level), asked = tonumber(asked), wants = tonumber(wants), held = tonumber(held),
        lags = tonumber(lags), excused = tonumber(excused), slow = tonumber(slow),
      }
    end
  end
  return members
end

local function note_member(k, name, each)
  redis.call('HSET', k.pool, name, string.format('%.0f %.0f %d %.0f %.0f %.0f %d',
    each.level, each.asked, each.wants, each.held, each.lags, each.excused, each.slow))
end

local function levels(members, choose)
  local found
  for _, each in pairs(members) do found = choose(found or each.level, each.level) end
  return found or 0
end

local function join(members, consumer, now)
  if not members[consumer] then
    members[consumer] = {
      level = levels(members, math.min), asked = now, wants = 0, held = 0, lags = 0, excused = 0, slow = 0,
    }
  end
  return members[consumer]
end

-- Nobody is owed more than LEAD: who was away or slow does not get everything for a while when it is back.
local function forgive(k, members, ahead, now)
  for name, each in pairs(members) do
    if ahead.level - each.level > LEAD then
      each.level = ahead.level - LEAD
      if each.lags == 0 and each.excused <= now then
        each.lags = now
      elseif each.lags > 0 and now - each.lags > (each.slow > 0 and STILL_SLOW_AFTER or SLOW_AFTER) then
        each.slow = math.min(SLOW_AT_MOST, math.max(SLOW_FOR, each.slow * 2))
        each.excused, each.lags = now + each.slow, 0
      end
      note_member(k, name, each)
    end
  end
end

-- How many messages each consumer has in hand.
local function in_flight(k)
  local count = {}
  for level = 1, 5 do
    local summary = redis.pcall('XPENDING', k.q .. level, k.group)
    for _, row in ipairs(not summary.err and summary[4] or {}) do
      count[row[1]] = (count[row[1]] or 0) + row[2]
    end
  end
  return count
end

local function waiting_in(k, most, now)
  local count = redis.call('ZCARD', k.ready) + redis.call('ZCOUNT', k.due, '-inf', now)
  if k.schedule ~= k.due then count = count + redis.call('ZCOUNT', k.schedule, '-inf', now) end
  for level = 5, 1, -1 do
    local stream = k.q .. level
    if count < most then count = count + unread(stream, groups_of(stream)[k.group], most) end
  end
  return count
end

-- The most that this member may take so that enough is left for those that want more and have less.
local function fair_share(mine, limit, waiting, others)
  local function leaves_enough(share)
    local claimed = share
    for _, each in ipairs(others) do
      claimed = claimed + math.min(each.wants, math.max(0, mine + share - 1 - each.has))
    end
    return claimed <= waiting
  end
  local low, high = 0, math.min(limit, waiting)
  while low < high do
    local middle = math.ceil((low + high) / 2)
    if leaves_enough(middle) then low = middle else high = middle - 1 end
  end
  return low
end

local function hungry_ones(members, me)
  local found, wanted = {}, 0
  for name, each in pairs(members) do
    if each ~= me and each.wants > 0 then
      found[#found + 1], each.name = each, name
      wanted = wanted + each.wants
    end
  end
  return found, wanted
end

-- Those whose turn it was and who did not come.
local function stop_waiting_for(k, others, since)
  local left = {}
  for _, each in ipairs(others) do
    if each.asked <= since then
      each.wants = 0
      note_member(k, each.name, each)
    else
      left[#left + 1] = each
    end
  end
  return left
end

-- Beside members that are busy: no faster than them, as long as they keep up. Who is too far ahead has one at a time, each
-- after a while, so that the others come to their turn also where all compete for one processor.
local function leading_share(members, me, limit, now)
  local least
  for _, each in pairs(members) do
    if each ~= me and now - each.asked <= RECENT and each.excused <= now then
      least = math.min(least or each.level, each.level)
    end
  end
  if not least then return limit end
  if me.level - least < LEAD then return math.min(limit, LEAD - (me.level - least)) end
  return me.held > 0 and now - me.held >= PATIENCE and 1 or 0
end

local function share_of(k, members, me, consumer, limit, now)
  local is_counting = redis.call('HGET', k.meta, 'policy') ~= 'least_loaded'
  if is_counting then
    forgive(k, members, me, now)
    if me.lags > 0 and levels(members, math.max) - me.level < LEAD then me.lags, me.slow = 0, math.floor(me.slow / 2) end
  end
  local others, wanted = hungry_ones(members, me)
  if #others == 0 then return is_counting and leading_share(members, me, limit, now) or limit end
  local waiting = waiting_in(k, wanted + limit, now)
  if waiting == 0 then return limit end
  local load = not is_counting and in_flight(k)
  for _, each in ipairs(others) do each.has = load and (load[each.name] or 0) or each.level end
  local mine = load and (load[consumer] or 0) or me.level
  local share = fair_share(mine, limit, waiting, others)
  if share == 0 and me.held > 0 and now - me.held >= PATIENCE then
    others = stop_waiting_for(k, others, me.held)
    me.held = 0
    share = fair_share(mine, limit, waiting, others)
  end
  return share
end

-- It is somebody else's turn: look again when they had their time, or when there is more.
local function wait_for_turn(k, out, me, now)
  if me.held == 0 then me.held = now end
  out[3] = string.format('%.0f', math.min(tonumber(out[3]), math.max(1, me.held + PATIENCE - now)))
  for level = 5, 1, -1 do
    local info = redis.pcall('XINFO', 'STREAM', k.q .. level)
    if not info.err then out[9 - level] = pairs_of(info)['last-generated-id'] end
  end
end

-- What *ask* does for a plain inbox, with as much as this member may take. Arguments and answer are those of receive.
local function in_turn(keys, args, ask)
  local k, now = names(keys[1], args[1]), now_ms()
  local consumer, limit = args[2], tonumber(args[4])
  local members = members_of(k, now)
  local me = join(members, consumer, now)
  local share = share_of(k, members, me, consumer, limit, now)
  args[4] = tostring(share)
  local out = ask(keys, args)
  if out[2] == 'late' then return out end
  local kind, got = out[2], 0
  if kind == 'deliveries' or kind == 'plain' or kind == 'healed' then got = (#out - 3) / 2 end
  local left = limit - got
  me.level, me.asked = me.level + got, now
  -- With less than half of its room left it works before it asks again, as it does before a suspect can run; and who has
  -- looked comes at once, or not at all.
  me.wants = kind ~= 'waiting' and kind ~= 'drain' and left * 2 >= limit and left or 0
  if me.wants > 0 then me.excused = 0 end
  if share == 0 and kind == 'idle' then
    wait_for_turn(k, out, me, now)
  else
    me.held = 0
  end
  note_member(k, consumer, me)
  -- A reader that got less than it asked for goes to sleep behind the streams, and this is not in them.
  if got > 0 and share < limit and redis.call('EXISTS', k.ready) == 1 then ring(k) end
  return out
end

local function is_pool(keys)
  return string.find(keys[1], ':{@', 1, true)
end
