#compdef lightship
# zsh completion of lightship; to be put as _lightship into a directory of $fpath
_lightship_containers() {
    local host=${DOCKER_HOST:-unix:///run/docker.sock}
    [[ -n ${opt_args[--root]} ]] && host=unix://${opt_args[--root]}/docker.sock
    compadd -- ${(f)"$(DOCKER_HOST=$host docker ps --format '{{.Names}}' 2>/dev/null)"}
}

_lightship() {
    local state
    _arguments -C '--version[show the version]' '1: :->command' '*:: :->arguments'
    if [[ $state == command ]]; then
        local -a commands=(
            'up:start an engine in the background' 'down:stop an engine' 'status:show the engines of this host'
            'run:run a command beside an engine of its own' 'doctor:say what this host lacks, and the fix'
            'explain:say what made a container'
        )
        _describe command commands
        return
    fi
    case $words[1] in
        up) _arguments '--root[a private engine]:directory:_directories' '--network[which network it is in]:network:(host private)' \
            "--context[make and use docker's context]:name:" ;;
        down) _arguments '--root[the private engine]:directory:_directories' '--containers[stop its containers first]' ;;
        status) _arguments '--json[for programs]' ;;
        run) _arguments '*--load[load images first]:archive:_files' '--network[which network]:network:(host private)' \
            '--quiet[do not tell what is missing]' '*::command:_normal' ;;
        doctor) _arguments '--json[for programs]' '--images[check blobs and layers]' '--repair[unpack damaged layers anew]' \
            '--data-root:directory:_directories' '--exec-root:directory:_directories' ;;
        explain) _arguments '--root[of a private engine]:directory:_directories' '--json[for programs]' '1:container:_lightship_containers' ;;
    esac
}

_lightship "$@"
