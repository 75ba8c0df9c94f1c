# bash completion for retrywith(8). Printed by `retrywith --completion bash` from the
# table of options: do not edit.

_retrywith()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	local command= more= word

	COMPREPLY=()
	# bash takes --name=value for three words.
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	fi
	case $prev in
	--mode)
		mapfile -t COMPREPLY < <(compgen -W 'answer observe off' -- "$cur")
		return ;;
	--on-unanswered)
		mapfile -t COMPREPLY < <(compgen -W 'pass 502' -- "$cur")
		return ;;
	--replay-methods)
		mapfile -t COMPREPLY < <(compgen -W 'all idempotent' -- "$cur")
		return ;;
	--expect-threshold)
		mapfile -t COMPREPLY < <(compgen -W 'never' -- "$cur")
		return ;;
	--tls-min)
		mapfile -t COMPREPLY < <(compgen -W '1.0 1.1 1.2 1.3' -- "$cur")
		return ;;
	--client-tls-min)
		mapfile -t COMPREPLY < <(compgen -W '1.0 1.1 1.2 1.3' -- "$cur")
		return ;;
	--log-format)
		mapfile -t COMPREPLY < <(compgen -W 'combined json' -- "$cur")
		return ;;
	--log-level)
		mapfile -t COMPREPLY < <(compgen -W 'error warn notice info debug' -- "$cur")
		return ;;
	-c|--listen-cert|--listen-key|--spool-dir|--htpasswd|--parent-password-file|--hosts-file|--upstream-ca|--upstream-crl|--ca-cert|--ca-key|--ca-passphrase-file|--access-log|--error-log)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return ;;
	--listen|--listen-tls|--origin|--workers|--user|--max-replays|--drain-limit|--retry-after-max|--breaker-trips|--breaker-pause|--body-memory|--memory-total|--body-limit|--spool-total|--allow|--deny|--max-clients|--max-clients-per-address|--connect-ports|--deny-ports|--deny-to|--allow-to|--parent|--no-proxy|--dns-servers|--intercept|--via|--admin|--head-limit|--fields-limit|--min-rate|--head-timeout|--body-timeout|--idle-timeout|--connect-timeout|--response-timeout|--read-timeout|--write-timeout|--tunnel-timeout|--drain-timeout|--pool-timeout)
		return ;;
	--completion)
		mapfile -t COMPREPLY < <(compgen -W 'bash zsh' -- "$cur")
		return ;;
	esac
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in
		run) command=$word more='' ;;
		check) command=$word more='--method --header --body' ;;
		match) command=$word more='--method --user-agent' ;;
		demo-origin) command=$word more='--listen --verbose --help' ;;
		ca) command=$word more='init show --permit --rsa' ;;
		env) command=$word more='--shell' ;;
		health) command=$word more='ready' ;;
		top) command=$word more='' ;;
		esac
	done
	if [[ -z $command && $cur != -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W 'run check match demo-origin ca env health top' -- "$cur")
		return
	fi
	if [[ $cur != -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$more" -- "$cur")
		return
	fi
	mapfile -t COMPREPLY < <(compgen -W "$more"'
	-t
	-T
	-V
	--help
	--sample
	--man
	--listen
	--listen-tls
	--listen-cert
	--listen-key
	--origin
	--forward
	--no-forward
	--transparent
	--no-transparent
	--workers
	--user
	--sandbox
	--no-sandbox
	--mode
	--on-unanswered
	--max-replays
	--replay-methods
	--drain-limit
	--retry-after-max
	--breaker-trips
	--breaker-pause
	--expect-threshold
	--body-memory
	--memory-total
	--body-limit
	--spool-total
	--spool-dir
	--allow
	--deny
	--max-clients
	--max-clients-per-address
	--htpasswd
	--connect-ports
	--deny-ports
	--deny-to
	--allow-to
	--parent
	--parent-password-file
	--no-proxy
	--dns-servers
	--hosts-file
	--upstream-ca
	--upstream-crl
	--tls-min
	--intercept
	--ca-cert
	--ca-key
	--ca-passphrase-file
	--client-tls-min
	--via
	--proxy-status
	--no-proxy-status
	--admin
	--access-log
	--log-format
	--log-query
	--no-log-query
	--error-log
	--log-level
	--head-limit
	--fields-limit
	--min-rate
	--head-timeout
	--body-timeout
	--idle-timeout
	--connect-timeout
	--response-timeout
	--read-timeout
	--write-timeout
	--tunnel-timeout
	--drain-timeout
	--pool-timeout
	' -- "$cur")
}
complete -F _retrywith retrywith
