#!/bin/sh
# Puts secrets where programs read them, in the memory of this container alone, then becomes the program.
#
# Compose knows secrets as files under /run/secrets. What names one as {{secret:NAME}} is filled here:
#   FREEHOLD_FILL_ENV     names of variables
#   FREEHOLD_FILL_FILES   files below /etc/freehold; the filled ones lie in /run/freehold
#   /run/secrets/agent_env   variables of the agents, where there are any
set -eu
mask=$(umask)
umask 077

fail() {
  echo "freehold: $1" >&2
  exit 78
}

fill() {
  rest=$1
  filled=
  while :; do
    case $rest in
      *"{{secret:"*"}}"*) ;;
      *) break ;;
    esac
    filled=$filled${rest%%"{{secret:"*}
    rest=${rest#*"{{secret:"}
    name=${rest%%"}}"*}
    rest=${rest#*"}}"}
    [ -r "/run/secrets/$name" ] || fail "the secret $name cannot be read; it must belong to user $(id -u)"
    value=
    IFS= read -r value <"/run/secrets/$name" || [ -n "$value" ] || fail "the secret $name is empty"
    filled=$filled$value
  done
  filled=$filled$rest
}

for name in ${FREEHOLD_FILL_ENV:-}; do
  eval "text=\$$name"
  variable=$name
  fill "$text"
  export "$variable=$filled"
done

for file in ${FREEHOLD_FILL_FILES:-}; do
  target=/run/freehold/${file##*/}
  : >"$target"
  while IFS= read -r line || [ -n "$line" ]; do
    fill "$line"
    printf '%s\n' "$filled" >>"$target"
  done <"$file"
done

if [ -r /run/secrets/agent_env ]; then
  . /run/secrets/agent_env
fi

umask "$mask"
unset FREEHOLD_FILL_ENV FREEHOLD_FILL_FILES
exec "$@"
