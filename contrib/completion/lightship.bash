# bash completion of lightship and lightshipd; to be sourced, or put into /usr/share/bash-completion/completions/lightship
_lightship_containers() {
    local root=$1 host=${DOCKER_HOST:-unix:///run/docker.sock}
    [ -n "$root" ] && host=unix://$root/docker.sock
    DOCKER_HOST=$host docker ps --format '{{.Names}}' 2>/dev/null
}

_lightship() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command='' root='' index
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${COMP_WORDS[index]} in
            --) _command_offset $((index + 1)) 2>/dev/null; return ;;
            --root) root=${COMP_WORDS[index+1]} ;;
            up|down|status|run|doctor|explain) [ -n "$command" ] || command=${COMP_WORDS[index]} ;;
        esac
    done
    case $previous in
        --root|--data-root|--exec-root) mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
        --load) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
        --network) mapfile -t COMPREPLY < <(compgen -W 'host private' -- "$current"); return ;;
        --context) mapfile -t COMPREPLY < <(compgen -W "$(docker context ls -q 2>/dev/null)" -- "$current"); return ;;
    esac
    local words
    case $command in
        '') words='up down status run doctor explain --help --version' ;;
        up) words="--root --network --context --help $(_lightshipd_flags)" ;;
        run) words="--load --network --quiet --help -- $(_lightshipd_flags)" ;;
        down) words='--root --containers --help' ;;
        status) words='--json --help' ;;
        doctor) words='--json --images --repair --data-root --exec-root --help' ;;
        explain) words="--root --json --help $(_lightship_containers "$root")" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

_lightshipd_flags() { lightshipd --help 2>/dev/null | grep -oE -- '--[a-z0-9-]+' | sort -u; }

_lightshipd() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
    case $previous in
        --data-root|--exec-root) mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
        --config-file|--pidfile|--tlscacert|--tlscert|--tlskey|--seccomp-profile|--init-path)
            mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
        --log-level) mapfile -t COMPREPLY < <(compgen -W 'debug info warn error fatal' -- "$current") ;;
        --log-format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$current") ;;
        --firewall-backend) mapfile -t COMPREPLY < <(compgen -W 'auto iptables nftables' -- "$current") ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$(_lightshipd_flags)" -- "$current") ;;
    esac
}

complete -F _lightship lightship
complete -F _lightshipd lightshipd
