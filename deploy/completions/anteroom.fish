# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_anteroom_global_optspecs
    string join \n h/help V/version
end

function __fish_anteroom_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_anteroom_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_anteroom_using_subcommand
    set -l cmd (__fish_anteroom_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c anteroom -n "__fish_anteroom_needs_command" -s h -l help -d 'Print help'
complete -c anteroom -n "__fish_anteroom_needs_command" -s V -l version -d 'Print version'
complete -c anteroom -n "__fish_anteroom_needs_command" -f -a "serve" -d 'Stand in front of a service'
complete -c anteroom -n "__fish_anteroom_needs_command" -f -a "demo" -d 'Try it on a made-up service, without Docker and Traefik'
complete -c anteroom -n "__fish_anteroom_needs_command" -f -a "doctor" -d 'Say what is wrong with a deployment, from its host'
complete -c anteroom -n "__fish_anteroom_needs_command" -f -a "wait" -d 'Wait until services are ready, or say why they never will be: for deploy scripts'
complete -c anteroom -n "__fish_anteroom_needs_command" -f -a "healthcheck" -d 'Ask a running anteroom whether it lives; exit 0 or 1'
complete -c anteroom -n "__fish_anteroom_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l upstream -d 'the service behind anteroom [required] ANTEROOM_UPSTREAM takes http://, https:// or h2c:// with host:port, without credentials, path and query; the port may be left out where it is the usual one' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l listen -d 'where requests arrive [default: 0.0.0.0:8080] ANTEROOM_LISTEN takes an IP address and a port, e.g. 0.0.0.0:8080 or [::]:8080; port 0 lets the system choose' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l admin-listen -d 'where /healthz, /readyz, /metrics and /status answer [default: 127.0.0.1:9090] ANTEROOM_ADMIN_LISTEN takes an IP address and a port, e.g. 0.0.0.0:8080 or [::]:8080; port 0 lets the system choose' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l ready-path -d 'the path of the upstream that answers 2xx or 3xx, each time within 2 s, once it is ready [default: a TCP connection is enough] ANTEROOM_READY_PATH takes a path that begins with /, e.g. /api/health' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l patience-navigation -d 'how long a page view is held before it gets the waiting page [default: 2s] ANTEROOM_PATIENCE_NAVIGATION takes a duration with its unit, e.g. 2s or 500ms, at most 1day' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l patience-request -d 'how long any other request is held [default: 30s] ANTEROOM_PATIENCE_REQUEST takes a duration with its unit, e.g. 2s or 500ms, at most 1day' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l patience-stream -d 'how long a WebSocket or an event stream is held [default: 2m] ANTEROOM_PATIENCE_STREAM takes a duration with its unit, e.g. 2s or 500ms, at most 1day' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l grace -d 'how long a target that was ready and died may stay away before waiting counts as pointless [default: 10s] ANTEROOM_GRACE takes a duration with its unit, e.g. 2s or 500ms, at most 1day' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l max-held -d 'how many requests are held at once; more are answered at once [default: 1024] ANTEROOM_MAX_HELD takes a number of requests from 0 to 1000000' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l replay-bytes -d 'how much of a request\'s body is read while it is held, and kept for a retry [default: 1MiB] ANTEROOM_REPLAY_BYTES takes a size in bytes, e.g. 1MiB, 64KiB or 1048576, at most 64MiB' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l spool-dir -d 'where what is beyond that of a held request\'s body is kept, until it ends [default: none: the client has to wait with the rest] ANTEROOM_SPOOL_DIR takes the path of a folder that files can be made in, e.g. /var/spool/anteroom' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l spool-bytes -d 'how much all bodies together may take of ANTEROOM_SPOOL_DIR [default: 1GiB] ANTEROOM_SPOOL_BYTES takes a size in bytes, e.g. 1GiB or 512MiB, at least 1' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l connect-timeout -d 'how long a connection to the upstream may take [default: 2s] ANTEROOM_CONNECT_TIMEOUT takes a duration with its unit, e.g. 2s or 500ms, longer than 0, at most 1day' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l response-timeout -d 'how long the head of an answer may take; streams and upgrades have no limit [default: 60s] ANTEROOM_RESPONSE_TIMEOUT takes a duration with its unit, e.g. 2s or 500ms, longer than 0, at most 1day' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l max-connections -d 'how many connections of clients are open at once; more wait until one ends [default: 16384] ANTEROOM_MAX_CONNECTIONS takes a number of connections from 1 to 1000000' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l max-header-bytes -d 'how long the head of a request may be; a longer one is answered with 431 [default: 64KiB] ANTEROOM_MAX_HEADER_BYTES takes a size in bytes, e.g. 64KiB, from 8KiB to 1MiB' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l max-headers -d 'how many header fields a request may have; one with more is answered with 431 [default: 100] ANTEROOM_MAX_HEADERS takes a number of header fields from 10 to 10000' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l header-timeout -d 'how long a head may take from its first byte to its last; then the connection is closed [default: 10s] ANTEROOM_HEADER_TIMEOUT takes a duration with its unit, e.g. 2s or 500ms, longer than 0, at most 1day' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l idle-timeout -d 'how long a connection may be silent between requests, or take nothing of its answer [default: 100s] ANTEROOM_IDLE_TIMEOUT takes a duration with its unit, e.g. 2s or 500ms, longer than 0, at most 1day' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l max-requests -d 'how many requests a connection carries before it is closed [default: no limit] ANTEROOM_MAX_REQUESTS takes a number of requests, 1 or more' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l max-body-bytes -d 'the longest body of a request; a longer one gets 413 [default: no limit] ANTEROOM_MAX_BODY_BYTES takes bytes, KiB, MiB or GiB' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l host-header -d 'which Host the upstream sees: the client\'s, or its own [default: preserve] ANTEROOM_HOST_HEADER takes preserve or upstream' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l trusted-peers -d 'whose X-Forwarded-* and Forwarded headers are kept; those of anyone else are replaced [default: 127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,169.254.0.0/16,::1,fc00::/7,fe80::/10] ANTEROOM_TRUSTED_PEERS takes addresses and networks, e.g. 172.20.0.0/16,fd00::/8, or one of the words all and none' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l detail -d 'how much a page tells: what happened; also names, findings and remedies; or also the target\'s last log lines [default: state] ANTEROOM_DETAIL takes summary, state or full' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l page-css -d 'a style sheet for the page, after its own [default: anteroom\'s own look] ANTEROOM_PAGE_CSS takes the path of a CSS file of at most 32 KiB, e.g. /etc/anteroom/page.css; it is read at the start' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l page-logo -d 'a logo for the page [default: none] ANTEROOM_PAGE_LOGO takes the path of an SVG, PNG or WebP file of at most 16 KiB, e.g. /etc/anteroom/logo.svg; it is read at the start' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l page-support -d 'whom a visitor can turn to [default: nobody is named] ANTEROOM_PAGE_SUPPORT takes at most 300 characters: words, or a link that begins with https:// or mailto:' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l page-note -d 'something more to tell a visitor [default: none] ANTEROOM_PAGE_NOTE takes a sentence of at most 300 characters' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l container -d 'the container that serves the upstream, where it cannot be found [default: found by the upstream\'s host name] ANTEROOM_CONTAINER takes the name or id of a container' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l depends-on -d 'the services that the upstream needs [default: what compose\'s labels say] ANTEROOM_DEPENDS_ON takes names of services of the target\'s compose project, separated by commas, e.g. cvat_clickhouse,cvat_vector' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l state-dir -d 'where warm-up times are remembered over a restart of anteroom [default: warm-up times are forgotten when anteroom stops] ANTEROOM_STATE_DIR takes the path of a directory that anteroom may write to, e.g. /var/lib/anteroom' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l threads -d 'worker threads [default: one per core] ANTEROOM_THREADS takes a number of threads from 1 to 512' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l log -d 'what is logged [default: info] ANTEROOM_LOG takes a level, or levels by module, e.g. debug or info,anteroom::watch=trace' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l log-format -d 'how it is logged [default: text] ANTEROOM_LOG_FORMAT takes text or json' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l tls-cert -d 'serve TLS with this certificate, followed by those that lead from it to its root [default: plain HTTP] ANTEROOM_TLS_CERT takes the path of a PEM file, e.g. /run/secrets/tls.pem; it is read again when it changes' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l tls-key -d 'the private key of ANTEROOM_TLS_CERT [default: plain HTTP] ANTEROOM_TLS_KEY takes the path of a PEM file, e.g. /run/secrets/tls.pem; it is read again when it changes' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l tls-client-ca -d 'clients must show a certificate that one of these has signed [default: clients need no certificate] ANTEROOM_TLS_CLIENT_CA takes the path of a PEM file, e.g. /run/secrets/tls.pem; it is read again when it changes' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l upstream-ca -d 'the roots that an https:// upstream is trusted by, instead of the system\'s [default: the system\'s roots] ANTEROOM_UPSTREAM_CA takes the path of a PEM file, e.g. /run/secrets/tls.pem; it is read again when it changes' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l upstream-cert -d 'the certificate to show to an https:// upstream [default: none] ANTEROOM_UPSTREAM_CERT takes the path of a PEM file, e.g. /run/secrets/tls.pem; it is read again when it changes' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l upstream-key -d 'the private key of ANTEROOM_UPSTREAM_CERT [default: none] ANTEROOM_UPSTREAM_KEY takes the path of a PEM file, e.g. /run/secrets/tls.pem; it is read again when it changes' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l notify-url -d 'where a message is posted when the upstream is down, and when it is back [default: nobody is told] ANTEROOM_NOTIFY_URL takes http:// or https:// with host, path and query, e.g. https://hooks.example.org/T1/B2; user:password@ before the host becomes an Authorization header' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l notify-format -d 'how such a message is written [default: json] ANTEROOM_NOTIFY_FORMAT takes json, slack or text' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l notify-after -d 'how long the upstream must be down, or back, before that is told [default: 5s] ANTEROOM_NOTIFY_AFTER takes a duration with its unit, e.g. 2s or 500ms, at most 1day' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l notify-key-file -d 'sign messages with this key (HMAC-SHA-256), so that a receiver can tell whose they are [default: messages are not signed] ANTEROOM_NOTIFY_KEY_FILE takes the path of a file with a key of 16 to 1024 bytes in it, e.g. /run/secrets/notify-key; it is read at the start' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l notify-ca -d 'the roots that an https:// receiver is trusted by, instead of the system\'s [default: the system\'s roots] ANTEROOM_NOTIFY_CA takes the path of a PEM file, e.g. /run/secrets/tls.pem; it is read again when it changes' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -l docker-host -d 'the container engine; it is only read [default: unix:///var/run/docker.sock] DOCKER_HOST takes unix:///path, tcp://host:port or http://host:port' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand serve" -s h -l help -d 'Print help'
complete -c anteroom -n "__fish_anteroom_using_subcommand demo" -l listen -d 'where to open the demo; port 0 lets the system choose' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand demo" -l warmup -d 'how long the service needs to start' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand demo" -l scenario -d 'what happens to the service' -r -f -a "slow-start\t''
crash-loop\t''
exited\t''
hang\t''
garbage\t''
dependency-down\t''"
complete -c anteroom -n "__fish_anteroom_using_subcommand demo" -l log -d 'what is logged' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand demo" -s h -l help -d 'Print help'
complete -c anteroom -n "__fish_anteroom_using_subcommand doctor" -s p -l project -d 'the compose project [default: COMPOSE_PROJECT_NAME, that of this folder, CVAT\'s, or the only one]' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand doctor" -l url -d 'where users ask [default: CVAT\'s /analytics/, by Traefik\'s own ports and rules]' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand doctor" -l json -d 'a document by docs/doctor.schema.json; with --watch one a line'
complete -c anteroom -n "__fish_anteroom_using_subcommand doctor" -l watch -d 'look again every two seconds, until stopped'
complete -c anteroom -n "__fish_anteroom_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c anteroom -n "__fish_anteroom_using_subcommand wait" -s p -l project -d 'the compose project [default: COMPOSE_PROJECT_NAME, that of this folder, CVAT\'s, or the only one]' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand wait" -l timeout -d 'how long to wait; 0s looks once' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand wait" -l http -d 'when the services are ready, wait also until this answers with 2xx or 3xx, without a login and from its own service' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand wait" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c anteroom -n "__fish_anteroom_using_subcommand healthcheck" -l admin-listen -d 'where /healthz, /readyz, /metrics and /status answer [default: 127.0.0.1:9090] ANTEROOM_ADMIN_LISTEN takes an IP address and a port, e.g. 0.0.0.0:8080 or [::]:8080; port 0 lets the system choose' -r
complete -c anteroom -n "__fish_anteroom_using_subcommand healthcheck" -s h -l help -d 'Print help'
complete -c anteroom -n "__fish_anteroom_using_subcommand help; and not __fish_seen_subcommand_from serve demo doctor wait healthcheck help" -f -a "serve" -d 'Stand in front of a service'
complete -c anteroom -n "__fish_anteroom_using_subcommand help; and not __fish_seen_subcommand_from serve demo doctor wait healthcheck help" -f -a "demo" -d 'Try it on a made-up service, without Docker and Traefik'
complete -c anteroom -n "__fish_anteroom_using_subcommand help; and not __fish_seen_subcommand_from serve demo doctor wait healthcheck help" -f -a "doctor" -d 'Say what is wrong with a deployment, from its host'
complete -c anteroom -n "__fish_anteroom_using_subcommand help; and not __fish_seen_subcommand_from serve demo doctor wait healthcheck help" -f -a "wait" -d 'Wait until services are ready, or say why they never will be: for deploy scripts'
complete -c anteroom -n "__fish_anteroom_using_subcommand help; and not __fish_seen_subcommand_from serve demo doctor wait healthcheck help" -f -a "healthcheck" -d 'Ask a running anteroom whether it lives; exit 0 or 1'
complete -c anteroom -n "__fish_anteroom_using_subcommand help; and not __fish_seen_subcommand_from serve demo doctor wait healthcheck help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
