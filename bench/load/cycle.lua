-- Every request is the next visitor's: the file has a Cookie header on each line.
local threads = 0

function setup(thread)
  thread:set("thread", threads)
  threads = threads + 1
end

function init(args)
  requests, n = {}, 0
  for cookie in io.lines(args[1]) do
    n = n + 1
    requests[n] = wrk.format("GET", nil, { Cookie = cookie })
  end
  i = math.floor(n / 2) * thread -- threads begin far from each other
end

function request()
  i = i % n + 1
  return requests[i]
end

-- For the program that started wrk: requests, microseconds, failures, and the
-- latency that half, and 99 of 100, stay below.
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("result %d %d %d %d %d\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
