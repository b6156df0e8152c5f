# fish completion of lightship; to be put into ~/.config/fish/completions
function __lightship_needs_command
    not __fish_seen_subcommand_from up down status run doctor explain
end

complete -c lightship -f
complete -c lightship -n __lightship_needs_command -a up -d 'start an engine in the background'
complete -c lightship -n __lightship_needs_command -a down -d 'stop an engine'
complete -c lightship -n __lightship_needs_command -a status -d 'show the engines of this host'
complete -c lightship -n __lightship_needs_command -a run -d 'run a command beside an engine of its own'
complete -c lightship -n __lightship_needs_command -a doctor -d 'say what this host lacks, and the fix'
complete -c lightship -n __lightship_needs_command -a explain -d 'say what made a container'
complete -c lightship -n __lightship_needs_command -l version -d 'show the version'
complete -c lightship -n '__fish_seen_subcommand_from up down explain' -l root -xa '(__fish_complete_directories)' -d 'of a private engine'
complete -c lightship -n '__fish_seen_subcommand_from up run' -l network -xa 'host private' -d 'which network it is in'
complete -c lightship -n '__fish_seen_subcommand_from up' -l context -x -d "make and use docker's context"
complete -c lightship -n '__fish_seen_subcommand_from down' -l containers -d 'stop its containers first'
complete -c lightship -n '__fish_seen_subcommand_from run' -l load -rF -d 'load images first'
complete -c lightship -n '__fish_seen_subcommand_from run' -s q -l quiet -d 'do not tell what is missing'
complete -c lightship -n '__fish_seen_subcommand_from run' -xa '(__fish_complete_subcommand --commandline)'
complete -c lightship -n '__fish_seen_subcommand_from status doctor explain' -l json -d 'for programs'
complete -c lightship -n '__fish_seen_subcommand_from doctor' -l images -d 'check blobs and layers'
complete -c lightship -n '__fish_seen_subcommand_from doctor' -l repair -d 'unpack damaged layers anew'
complete -c lightship -n '__fish_seen_subcommand_from doctor' -l data-root -xa '(__fish_complete_directories)'
complete -c lightship -n '__fish_seen_subcommand_from doctor' -l exec-root -xa '(__fish_complete_directories)'
complete -c lightship -n '__fish_seen_subcommand_from explain' -xa "(docker ps --format '{{.Names}}' 2>/dev/null)"
