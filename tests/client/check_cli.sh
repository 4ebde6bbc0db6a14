#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The command line against a scripted torpord: what it asks for, what it prints, how it ends.
#   check_cli.sh TORPOR PEER
set -uo pipefail
torpor=$1
peer=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/torpor-cli.XXXXXX")
trap 'rm -rf "$work"' EXIT
unset TORPOR_URL TORPOR_SOCKET TORPOR_TOKEN TORPOR_TOKEN_FILE TORPOR_CA_FILE
export TZ=UTC LC_ALL=C.UTF-8
wrong=0
what=

bad() {
  echo "$what: $*"
  sed 's/^/    out: /' "$work/out"
  sed 's/^/    err: /' "$work/err"
  wrong=1
}

# Runs torpor against the script on standard input, and looks at the exit status.
run() { # STATUS ARGUMENT...
  local wanted=$1 status=0
  shift
  what="torpor $*"
  cat >"$work/script"
  "$peer" "$work/script" "$torpor" "$@" <"${stdin:-/dev/null}" >"$work/out" 2>"$work/err" || status=$?
  [ "$status" -eq "$wanted" ] || bad "exit status $status instead of $wanted"
}

out() { # the whole of standard output
  [ "$(cat "$work/out")" = "$1" ] || bad "wanted on standard output: $1"
}

has() { # FILE TEXT: somewhere in it
  grep -qF -e "$2" "$work/$1" || bad "nothing on std$1 has: $2"
}

has_not() {
  ! grep -qF -e "$2" "$work/$1" || bad "something on std$1 has: $2"
}

id=k3v9q2m7x4tz0d8h
other=k3v9zzzzzzzzzzzz
session() { # ID NAME STATE [MORE]
  echo '{"id":"'"$1"'","name":"'"$2"'","tenant":"default","template":"minimal","template_id":"9fab",
    "state":"'"$3"'","created":"2020-01-02T03:04:05.678Z","last_active":"2020-01-02T03:04:05.678Z",
    "source":"warm","image":{"bytes":12800}'"${4:-}"'}' | tr -d '\n'
}
found() { # the look-up of a session
  echo "> GET /v1/sessions?limit=50&match=$1"
  echo '< 200 application/json'
  echo '<b {"sessions":['"$(session "$2" "$3" "$4")"'],"next":null}'
}
problem() { # STATUS CODE DETAIL [MORE]
  echo "< $1 application/problem+json"
  echo '<b {"type":"urn:torpor:problem:'"$2"'","status":'"$1"',"detail":"'"$3"'"'"${4:-}"'}'
}

# --- set, history, tree, limits ---

run 0 acquire minimal --limit cpus=0.5 --limit memory=64M --limit pids=10 <<END
> POST /v1/sessions
>b {"template":"minimal","limits":{"cpus":0.5,"memory_bytes":67108864,"pids":10}}
< 201 application/json
<b $(session $id demo running)
END
run 2 acquire minimal --limit cpus </dev/null
has err '--limit takes cpus=0.5'
run 2 acquire minimal --limit pids=many </dev/null

run 0 set demo --name other --ttl never --idle 15m --label team=b --limit io=1M <<END
$(found demo $id demo running)
> PATCH /v1/sessions/$id
>b {"name":"other","ttl_s":0,"idle_s":900,"labels":{"team":"b"},"limits":{"io_bytes_per_s":1048576}}
< 200 application/json
<b $(session $id other running ',"limits":{"io_bytes_per_s":1048576,"unenforced":["io: not here"]}')
END
out "k3v9q2m7 other running"
has err "io: not here isn't enforced on this host"

run 0 set demo --label none --limit none <<END
$(found demo $id demo running)
> PATCH /v1/sessions/$id
>b {"labels":{},"limits":{}}
< 200 application/json
<b $(session $id demo running)
END

run 0 checkpoint demo before --remove <<END
$(found demo $id demo running)
> DELETE /v1/sessions/$id/images/before
< 204
END
out "k3v9q2m7 demo, checkpoint before removed"
run 2 checkpoint demo --remove </dev/null

where='{"here":false,"portable":true,"needs":[{"subject":"qemu","needed":"QEMU 10.0.2 or newer","met":false,"why_not":"this host has 7.2.22"},{"subject":"accelerator","needed":"tcg","met":true,"why_not":null}]}'
run 0 show demo --where <<END
$(found demo $id demo parked)
> GET /v1/sessions/$id/images/park/where
< 200 application/json
<b $where
END
out "here      no
elsewhere where all of this is to be had

NO    qemu        QEMU 10.0.2 or newer
                  here: this host has 7.2.22
yes   accelerator tcg"
run 0 show demo --where=before --json <<END
$(found demo $id demo running)
> GET /v1/sessions/$id/images/before/where
< 200 application/json
<b $where
END
out "$where"

run 0 history demo --day <<END
$(found demo $id demo running)
> GET /v1/sessions/$id/history?window=day
< 200 application/json
<b {"samples":{"at":[1000],"cpu_percent":[2.5],"private_bytes":[1048576]},"states":[{"at":"2026-01-02T03:04:05.678Z","state":"running","reason":null}],"operations":[{"at":"2026-01-02T03:04:06.678Z","op":"park","took_ms":12.34,"source":null,"image_bytes":12800}]}
END
out "03:04:05.678  running
03:04:06.678  park took 12.3 ms (12.5 KiB)
At most 1.0 MiB of its own, and 2.5 % of a processor."

run 0 history --host <<END
> GET /v1/history/host
< 200 application/json
<b {"from":"2026-01-02T03:04:05.678Z","samples":{"sessions_bytes":[4096,1024]},"current":{"sessions_bytes":1048576,"saved_bytes":3145728,"image_bytes":12800,"running":1,"parked":3}}
END
has out "sessions take 1.0 MiB; all of them running, about 4.0 MiB"
has_not out "available"

run 0 history --pool <<END
> GET /v1/history/pool
< 200 application/json
<b {"templates":[{"name":"minimal","claim":{"count":2,"p50_ms":1.5,"p95_ms":2.5,"p99_ms":3.5,"max_ms":4.5},"park":{"count":0}}]}
END
has out "minimal                  claim             2        1.5        2.5        3.5        4.5"
has_not out "park"
run 2 history </dev/null
has err "an ID, --host or --pool is needed"
run 2 history demo --host </dev/null

run 0 tree demo <<END
$(found demo $id demo running)
> GET /v1/sessions/$id/lineage
< 200 application/json
<b {"session":"$id","truncated":false,"nodes":[{"id":"$id","kind":"session","parent":null,"session":"$id","name":"demo","state":"running","took_ms":3.14},{"id":"$id/cp","kind":"checkpoint","parent":"$id","session":"$id","name":"cp","bytes":12800,"took_ms":null},{"id":"$other","kind":"session","parent":"$id/cp","session":"$other","name":"f","state":"parked","took_ms":null}]}
END
out "k3v9q2m7 demo running, took 3.1 ms
  checkpoint cp, 12.5 KiB
    k3v9zzzz f parked"

# --- dashboard ---

run 0 dashboard <<END
> POST /v1/login-links
>b {}
< 201 application/json
<b {"code":"c0de","expires_s":60,"url":"http://127.0.0.1:8470/#code=c0de"}
END
out "http://127.0.0.1:8470/#code=c0de"
has err "once, within 60 s"

run 1 dashboard <<END
> POST /v1/login-links
< 201 application/json
<b {"code":"c0de","expires_s":60,"url":null}
END
out ""
has err "listen = 127.0.0.1:8470"

run 0 dashboard --json <<END
> POST /v1/login-links
< 201 application/json
<b {"code":"c0de","expires_s":60,"url":null}
END
out '{"code":"c0de","expires_s":60,"url":null}'

# --- acquire, fork ---

created=$(session $id demo running ',"timing":{"source":"warm","total_ms":3.1}')
run 0 acquire minimal <<END
> POST /v1/sessions
>b {"template":"minimal"}
< 201 application/json
<b $created
END
out "k3v9q2m7 demo running (warm, 3.1 ms)"

run 0 acquire minimal --name demo --ttl 1h --idle 15m --retention never --env A=1 --env B=2 \
  --label team=a --wait 30s -q <<END
> POST /v1/sessions
>h Torpor-Timeout: 90
>b {"template":"minimal","name":"demo","env":{"A":"1","B":"2"},"labels":{"team":"a"},"ttl_s":3600,"idle_s":900,"retention_s":0,"wait_s":30}
< 201 application/json
<b $created
END
out $id

run 0 --json acquire minimal <<END
> POST /v1/sessions
< 201 application/json
<b $created
END
has out '"total_ms"'
[ "$(wc -l <"$work/out")" -eq 1 ] || bad "more than one line"

run 1 acquire minimal <<END
> POST /v1/sessions
$(problem 429 limit 'create session: tenant default has 100 of 100 sessions' \
  ',"hint":"Destroy or park some.","reason":"tenant-sessions","retry_after_s":5')
END
has err "torpor: create session: tenant default has 100 of 100 sessions"
has err "        Destroy or park some."

run 1 acquire minimal --json <<END
> POST /v1/sessions
$(problem 429 limit 'create session: full' ',"reason":"tenant-sessions"')
END
has out '"code":"limit"'
has out '"reason":"tenant-sessions"'

run 2 acquire minimal --ttl soon </dev/null
has err '--ttl takes a time'
run 2 acquire </dev/null
has err 'TEMPLATE is needed'
run 2 acquire a b </dev/null

run 0 fork k3v9 -n 2 --image before <<END
$(found k3v9 $id demo running)
> POST /v1/sessions/$id/fork
>b {"count":2,"image":"before"}
< 201 application/json
<b {"sessions":[$(session aaaa1111bbbb2222 f1 running),$(session cccc1111bbbb2222 f2 running)]}
END
out "aaaa1111 f1 running (warm)
cccc1111 f2 running (warm)"

# --- ls, show ---

run 0 ls <<END
> GET /v1/sessions?limit=101
< 200 application/json
<b {"sessions":[$(session $id demo running ',"guest":{"memory_bytes":268435456,"private_bytes":4194304}'),$(session $other two parked)],"next":null}
END
has out "ID        NAME"
has out "k3v9q2m7  demo"
grep -q '^k3v9zzzz  two  *parked  *minimal .*12.5 KiB$' "$work/out" || bad "no row of the parked one"
grep -q '^k3v9q2m7 .* 4.0 MiB$' "$work/out" || bad "no row of the running one"

run 0 ls --state parked --template minimal --label team=a -q --all <<END
> GET /v1/sessions?limit=200&state=parked&template=minimal&label=team%3Da
< 200 application/json
<b {"sessions":[$(session $id demo parked)],"next":"n1"}
> GET /v1/sessions?limit=200&state=parked&template=minimal&label=team%3Da&cursor=n1
< 200 application/json
<b {"sessions":[$(session $other two parked)],"next":null}
END
out "$id
$other"

run 0 ls --json <<END
> GET /v1/sessions?limit=101
< 200 application/json
<b {"sessions":[$(session $id a running),$(session $other b running)],"next":null}
END
has out '{"sessions":[{"id":"'$id
has out '},{"id":"'$other
run 0 ls --json <<END
> GET /v1/sessions?limit=101
< 200 application/json
<b {"sessions":[],"next":null}
END
out '{"sessions":[]}'

run 0 show demo <<END
$(found demo $id demo running)
> GET /v1/sessions/$id
< 200 application/json
<b $(session $id demo running ',"guest":{"memory_bytes":268435456,"vcpus":1,"private_bytes":4194304,"cpu_ms":1500},"timers":{"ttl_s":3600,"idle_s":0,"expires":"2020-01-02T04:04:05.678Z"},"labels":{"team":"a\u001b[2J"},"env":{"LANG":"C"},"limits":{"pids":5,"unenforced":["pids"]},"fresh":["clock","random"]')
> GET /v1/sessions/$id/images
< 200 application/json
<b {"images":[{"name":"p1","kind":"park","bytes":12800,"created":"2020-01-02T03:04:05Z"}]}
END
has out "id           $id"
has out "4.0 MiB of its own, 1.5 s of CPU"
has out "ends after   60 min (2020-01-02T04:04:05.678Z)"
has out "parks idle   never"
has out "label        team=a?[2J"
has out "limit        pids isn't enforced"
has out "fresh        clock random"
has out "image        park p1 12.5 KiB"

# --- ids ---

run 1 show k3v9 <<END
> GET /v1/sessions?limit=50&match=k3v9
< 200 application/json
<b {"sessions":[$(session $id demo running),$(session $other two parked)],"next":null}
END
has err "it could be $id demo, $other two"
run 1 show nobody <<END
> GET /v1/sessions?limit=50&match=nobody
< 200 application/json
<b {"sessions":[],"next":null}
END
has err "find session nobody: there is none"

# --- life ---

run 0 park demo <<END
$(found demo $id demo running)
> POST /v1/sessions/$id/park
< 200 application/json
<b $(session $id demo parked ',"timing":{"durable_ms":4.5,"gone_ms":9}')
END
out "k3v9q2m7 demo parked (12.5 KiB, durable after 4.5 ms)"

run 0 park --cancel demo <<END
$(found demo $id demo parking)
> DELETE /v1/sessions/$id/park
< 204 -
> GET /v1/sessions/$id
< 200 application/json
<b $(session $id demo running)
END
out "k3v9q2m7 demo running"

# Several: one that fails doesn't keep the other from it. They go at once, so the order is open.
run 1 park aaaa bbbb <<END
route GET /v1/sessions?limit=50&match=aaaa {"sessions":[$(session aaaa1111bbbb2222 a running)],"next":null}
route GET /v1/sessions?limit=50&match=bbbb {"sessions":[],"next":null}
> POST /v1/sessions/aaaa1111bbbb2222/park
< 200 application/json
<b $(session aaaa1111bbbb2222 a parked)
END
has out "aaaa1111 a parked"
has err "find session bbbb: there is none"

run 0 resume demo <<END
$(found demo $id demo parked)
> POST /v1/sessions/$id/resume
< 200 application/json
<b $(session $id demo running ',"timing":{"total_ms":7.25}')
END
out "k3v9q2m7 demo running (warm, 7.2 ms)"

for verb in pause unpause; do
  run 0 $verb demo --json <<END
$(found demo $id demo running)
> POST /v1/sessions/$id/$verb
< 200 application/json
<b $(session $id demo paused)
END
  has out '"state":"paused"'
done

run 0 checkpoint demo before <<END
$(found demo $id demo running)
> POST /v1/sessions/$id/checkpoint
>b {"name":"before"}
< 200 application/json
<b $(session $id demo running ',"checkpoint":{"name":"before","bytes":2048},"timing":{"pause_ms":1.5}')
END
out "k3v9q2m7 demo running, checkpoint before (2.0 KiB, stood still for 1.5 ms)"

run 0 rm -f demo <<END
$(found demo $id demo parked)
> DELETE /v1/sessions/$id
< 204 -
END
out "k3v9q2m7 removed"

# On a terminal it asks; a no is a no.
what="torpor rm on a terminal"
echo "route GET /none {}" >"$work/script"
status=0
echo n | "$peer" "$work/script" script -qec "$torpor rm demo" /dev/null >"$work/out" 2>"$work/err" ||
  status=$?
[ $status -eq 1 ] || bad "exit status $status"
has out "Remove demo, with all its images? [y/N]"
has out "Nothing was removed."

# --- exec ---

exit_event() { # EXIT_STATUS SIGNAL
  printf '%s\n' '<chunk event: exit\ndata: {"exit_status":'"$1"',"signal":'"$2"'}\n\n'
  echo '<last'
}
run 3 exec demo --env A=1 --cwd /tmp --wake --timeout 1m -- sh -c 'exit 3' <<END
$(found demo $id demo running)
> POST /v1/sessions/$id/exec
>h Accept: text/event-stream
>b {"argv":["sh","-c","exit 3"],"env":{"A":"1"},"cwd":"/tmp","stdin":"","encoding":"base64","timeout_s":60,"wake":true,"kill_on_disconnect":true}
<stream
<chunk event: stdout\ndata: {"data":"aGVsbG8="}\n\nevent: stderr\ndata: {"data":"b29wcw=="}\n\n
$(exit_event 3 null)
END
out hello
has err oops

printf 'from\0stdin' >"$work/stdin"
stdin=$work/stdin run 137 exec --keep demo cat --wake <<END
$(found demo $id demo running)
> POST /v1/sessions/$id/exec
>b {"argv":["cat","--wake"],"stdin":"ZnJvbQBzdGRpbg==","encoding":"base64"}
<stream
$(exit_event null 9)
END

# Output that takes no more at the moment (dd fills it, and leaves it non-blocking) is waited for.
what="torpor exec with a full non-blocking output"
cat >"$work/script" <<END
$(found demo $id demo running)
> POST /v1/sessions/$id/exec
<stream
<chunk event: stderr\ndata: {"data":"b29wcw=="}\n\nevent: stdout\ndata: {"data":"aGVsbG8="}\n\n
$(exit_event 0 null)
END
mkfifo "$work/pipe"
exec 7<>"$work/pipe"
exec 6<"$work/pipe"
dd if=/dev/zero bs=64K count=1 oflag=nonblock status=none >&7
: >"$work/err"
{
  until grep -q oops "$work/err"; do sleep 0.01; done
  cat <&6 | tr -d '\0' >"$work/out"
} 7>&- 2>/dev/null &
status=0
"$peer" "$work/script" "$torpor" exec demo ls </dev/null >&7 2>"$work/err" 6<&- || status=$?
exec 7>&- 6<&-
wait
rm "$work/pipe"
[ $status -eq 0 ] || bad "exit status $status"
out hello

run 125 exec demo ls <<END
$(found demo $id demo running)
> POST /v1/sessions/$id/exec
$(problem 409 busy "exec $id: it is parked" ',"hint":"Resume it, or use --wake."')
END
has err "torpor: exec $id: it is parked"
run 125 exec demo </dev/null
run 125 exec --nonsense demo ls </dev/null

# --- events, pool, top ---

# The stream ends with an error here, since it has to end somehow.
run 1 events --session demo --after 5 <<END
$(found demo $id demo running)
> GET /v1/events?session=$id
>h Last-Event-ID: 5
<stream
<chunk id: 6\nevent: session\ndata: $(session $id demo parked)\n\n
<chunk id: 7\nevent: template\ndata: {"name":"m","state":"degraded","reason":"no KVM"}\n\n
<close
> GET /v1/events?session=$id
>h Last-Event-ID: 7
<stream
<chunk id: 9\nevent: reset\ndata: {}\n\n
<chunk id: 10\nevent: error\ndata: {"type":"urn:torpor:problem:denied","detail":"events: over"}\n\n
<last
END
[ "$(cat "$work/out")" = "6 session k3v9q2m7 demo parked
7 template m degraded (no KVM)
9 reset events are missing" ] || bad "events"

pool='{"templates":[{"name":"minimal","state":"ready","reason":null,"pool":{"warm":2,"shells":1,"warm_target":3,"shell_target":1,"starting":1,"waiting":0},"served":{"warm":9,"shell":1,"spawn":0},"hit_rate":0.9,"failures":0,"start_ms":812.5}],"queue":0,"host":{"memory":{"budget_bytes":8589934592,"used_bytes":1073741824,"available_bytes":4294967296},"sessions":{"running":2,"parked":0}}}'
run 0 pool <<END
> GET /v1/pool
< 200 application/json
<b $pool
END
grep -qE '^minimal +ready +2/3 +1/1 +1 +0 +9/1/0 +90 % +0 +812 ms$' "$work/out" || bad "no row"
has out "host: 1.0 GiB of 8.0 GiB in use, 4.0 GiB available, 2 running"
run 0 pool show --json <<END
> GET /v1/pool
< 200 application/json
<b $pool
END
has out '"hit_rate":0.9'

guest=',"guest":{"memory_bytes":268435456,"vcpus":1}'
top_script() {
  echo "route GET /v1/pool $pool"
  echo 'route GET /v1/sessions?limit=200 {"sessions":['"$(session $id small running "$guest"),$(session $other large running "$guest"),$(session pppppppppppppppp resting parked)"'],"next":null}'
  echo "route GET /v1/sessions/$id $(session $id small running ',"guest":{"private_bytes":1048576,"cpu_ms":10}')"
  echo "route GET /v1/sessions/$other $(session $other large running ',"guest":{"private_bytes":9437184,"cpu_ms":10}')"
  printf '%s\n' 'route-events /v1/events event: pool\ndata: {}\n\n'
}
run 0 top < <(top_script)
has out "host: 1.0 GiB of 8.0 GiB"
[ "$(grep -oE 'large|small|resting' "$work/out" | paste -sd' ')" = "large small resting" ] ||
  bad "not sorted by memory"
has_not out $'\033'
run 0 top --json < <(top_script)
has out '"private_bytes":9437184'

for key in q $'\003'; do
  what="torpor top on a terminal"
  top_script >"$work/script"
  status=0
  : >"$work/out"
  # The key comes once something was drawn.
  mkfifo "$work/keys"
  {
    exec 8>"$work/keys"
    tail -n +1 -f "$work/out" | grep -qm1 resting
    printf %s "$key" >&8
  } 2>/dev/null &
  "$peer" "$work/script" script -qec "$torpor top" /dev/null <"$work/keys" >"$work/out" \
    2>"$work/err" || status=$?
  wait
  rm "$work/keys"
  [ $status -eq 0 ] || bad "exit status $status"
  has out $'\033[?1049h'
  has out $'\033[?1049l'
  has out large
done

# --- tenant, token, audit ---

alice='{"name":"alice","uid":1000,"limits":{"sessions":5,"memory_bytes":8589934592,"ttl_s":0},"usage":{"sessions":2,"image_bytes":12800}}'
run 0 tenant ls <<END
> GET /v1/tenants
< 200 application/json
<b {"tenants":[$alice]}
END
grep -qE '^alice +1000 +5 +8.0 GiB +default +default$' "$work/out" || bad "no row"
run 0 tenant show alice <<END
> GET /v1/tenants/alice
< 200 application/json
<b $alice
END
has out "ttl_s                never"
has out "uses sessions        2"
has out "uses image_bytes     12.5 KiB"
run 0 tenant add alice --uid 1000 --sessions 5 --memory 8G <<END
> POST /v1/tenants
>b {"uid":1000,"limits":{"sessions":5,"memory_bytes":8589934592},"name":"alice"}
< 201 application/json
<b $alice
END
run 0 tenant set alice --sessions default --ttl never --requests 50 --json <<END
> PATCH /v1/tenants/alice
>b {"limits":{"sessions":null,"ttl_s":0,"requests_per_minute":50}}
< 200 application/json
<b $alice
END
has out '"name":"alice"'
run 0 tenant rm alice <<END
> DELETE /v1/tenants/alice
< 204 -
END
run 0 token add alice --label ci --expires 30d <<END
> POST /v1/tenants/alice/tokens
>b {"label":"ci","expires_s":2592000}
< 201 application/json
<b {"id":"t1","token":"tpr_secret"}
END
out tpr_secret
has err "Its id is t1"
run 0 token ls alice <<END
> GET /v1/tenants/alice/tokens
< 200 application/json
<b {"tokens":[{"id":"t1","label":"ci","created":"2020-01-02T03:04:05Z","expires":null}]}
END
grep -q '^t1 *ci' "$work/out" || bad "no row"
run 0 token rm alice t1 <<END
> DELETE /v1/tenants/alice/tokens/t1
< 204 -
END
run 0 audit ls --session $id --limit 2 --before 9 <<END
> GET /v1/audit?limit=2&before=9&session=$id
< 200 application/json
<b {"entries":[{"seq":8,"time":"2026-01-02T03:04:05.678901Z","tenant":"alice","actor":"token 3f9c","op":"park","object":"$id","outcome":"ok"}]}
END
grep -qE "^ +8  2026-01-02T03:04:05.6789  alice +token 3f9c +park +$id ok$" "$work/out" || bad "no row"

run 1 audit verify --state "$work/nothing" </dev/null
has err "audit.log: No such file or directory"

# --- templates through torpord ---

minimal='{"name":"minimal","id":"9fabcdef","machine":"pc-i440fx-7.2","accel":"tcg","cpu":"Westmere-v1","qemu":"7.2.22","memory_bytes":268435456,"vcpus":1,"image_bytes":4096,"boot_ms":1500,"state":"ready"}'
# The socket is the peer's, named explicitly.
cat >"$work/remote" <<END
#!/bin/sh
exec "$torpor" --socket "\$TORPOR_SOCKET" "\$@"
END
chmod +x "$work/remote"
local_torpor=$torpor
torpor=$work/remote
touch "$work/vmlinuz"
run 0 template build minimal --kernel "$work/vmlinuz" --memory 256M --replace --quiet <<END
> POST /v1/templates
>h Accept: text/event-stream
>b {"name":"minimal","kernel":"$(realpath "$work")/vmlinuz","memory_bytes":268435456,"replace":true}
<stream
<chunk event: progress\ndata: {"stage":"boot","line":"Linux"}\n\n
<chunk event: progress\ndata: {"stage":"freeze","line":"frozen"}\n\n
<chunk event: done\ndata: $minimal\n\n
<last
END
has out "Template minimal: 256.0 MiB of memory on pc-i440fx-7.2 (tcg, Westmere-v1), 4.0 KiB on disk."
has err "freeze  frozen"
has_not err Linux
run 1 template build minimal --kernel /k <<END
> POST /v1/templates
<stream
<chunk event: error\ndata: {"type":"urn:torpor:problem:guest","detail":"boot minimal: it never answered"}\n\n
<last
END
has err "torpor: boot minimal: it never answered"
run 1 template build minimal --kernel /k <<END
> POST /v1/templates
<stream
<last
END
has err "closed the connection before"
run 0 template ls <<END
> GET /v1/templates
< 200 application/json
<b {"templates":[$minimal]}
END
has out "minimal              pc-i440fx-7.2"
run 0 template inspect minimal <<END
> GET /v1/templates/minimal
< 200 application/json
<b $minimal
END
has out "identity  9fabcdef"
run 0 template rm minimal --force <<END
> DELETE /v1/templates/minimal?force=true
< 204 -
END
torpor=$local_torpor
# Without --socket it is the state directory's, whatever the environment says.
run 0 template ls --state "$work/state" </dev/null
has out "There are no templates yet."

# --- who calls, and where ---

echo tpr_file >"$work/token"
run 0 ls --token-file "$work/token" --tenant bob <<END
> GET /v1/sessions?limit=101
>h Authorization: Bearer tpr_file
>h Torpor-Tenant: bob
< 200 application/json
<b {"sessions":[],"next":null}
END
has out "There are no such sessions."
run 1 ls --socket /nowhere/sock </dev/null
has err "connect to /nowhere/sock: No such file or directory"
has err "torpord isn't running there. Start it"
run 1 ls --socket /nowhere/sock --json </dev/null
has out '"code":"io"'

# An interrupt ends a call that waits, and says so.
what="torpor park, interrupted"
mkfifo "$work/go"
cat >"$work/script" <<END
$(found demo $id demo running)
> POST /v1/sessions/$id/park
<open $work/go
<mute
END
cat >"$work/interrupted" <<END
#!/bin/bash
"$torpor" park demo & pid=\$!
cat "$work/go"
kill -TERM \$pid
wait \$pid
END
chmod +x "$work/interrupted"
status=0
"$peer" "$work/script" "$work/interrupted" >"$work/out" 2>"$work/err" || status=$?
[ $status -eq 1 ] || bad "exit status $status"
has err "cancelled"

exit $wrong
