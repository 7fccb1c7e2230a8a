-- What takes new messages is refused by a server that is out of memory, before anything is written;
-- what drains it or answers questions is not.
local function register_all(prefix)
  local function add(name, callback, flags)
    redis.register_function { function_name = prefix .. name, callback = callback, flags = flags }
  end
  add('publish', publish, {})
  add('requeue', requeue, {})
  -- Finds out whether the functions are there, and whether this server takes writes.
  add('ping', function() return 'pong' end, { 'allow-oom' })
  -- A consumer registers before it drains anything.
  add('write', write, { 'allow-oom' })
  add('open', open, { 'allow-oom' })
  add('receive', receive_any, { 'allow-oom' })
  add('prepare', prepare, { 'allow-oom' })
  add('weigh', weigh, { 'allow-oom' })
  add('look', look_any, { 'allow-oom' })
  add('settle', settle, { 'allow-oom' })
  add('conclude', conclude_one, { 'allow-oom' })
  add('close', close, { 'allow-oom' })
  add('purge', purge, { 'allow-oom' })
  add('cancel', cancel, { 'allow-oom' })
  -- The time by which everything falls due; TIME itself may be forbidden to an agent.
  add('now', function() return string.format('%.0f', now_ms()) end, { 'no-writes' })
  add('tidy', tidy, { 'allow-oom' })
  add('shed', shed, { 'allow-oom' })
  add('holding', holding, { 'no-writes' })
  add('history', history, { 'no-writes' })
  add('spend', spend, { 'allow-oom' })
  add('drop', drop, { 'allow-oom' })
  add('answers', answers, { 'no-writes' })
  add('held', held, { 'allow-oom' })
  add('locate', locate, { 'no-writes' })
  add('peek', peek, { 'no-writes' })
  add('counts', counts, { 'no-writes' })
  add('dead', dead, { 'no-writes' })
  add('read', read, { 'no-writes' })
end
