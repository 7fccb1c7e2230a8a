-- spend: KEYS = the quota of a sender. ARGV = how many messages, ms from one to the next, how many may come at once.
-- Returns how many it may send, and ms until it may send another one where those are not all.
-- What is kept is the ms at which the quota is whole again; then it is gone.

local function spend(keys, args)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + time[2] / 1000
  local wanted, interval, burst = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
  local whole_at = math.max(now, tonumber(redis.call('GET', keys[1]) or 0))
  -- A little more than nothing, since fractions add up to a little less than a whole.
  local granted = math.max(0, math.min(wanted, math.floor((now - whole_at) / interval + burst + 1e-6)))
  whole_at = whole_at + granted * interval
  if granted > 0 then redis.call('SET', keys[1], string.format('%.3f', whole_at), 'PX', math.ceil(whole_at - now) + 1) end
  local wait = granted < wanted and math.ceil(whole_at + interval - burst * interval - now) or 0
  return { granted, math.max(0, wait) }
end
