# Runs a program for as long as the process that started this script lives.
#
# Standard input is a pipe; that process holds its other end. However it ends, the pipe closes.
# $1: the signal that ends the program; $2: a folder to remove afterwards, or nothing; then the program.
signal=$1 folder=$2
shift 2
exec 3<&0 </dev/null

"$@" 3<&- &
program=$!

gone_within() { # tenths of a second
    left=$1
    while kill -0 "$program"; do
        [ "$left" -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.1
    done
}

(
    read -r _ <&3
    # From here on, the script below waits for this to end.
    trap '' TERM
    kill -s "$signal" "$program"
    gone_within 20 || kill -s QUIT "$program"
    gone_within 5 || kill -s KILL "$program"
) 2>/dev/null &
reader=$!
exec 3<&-

trap 'kill -s "$signal" "$program"' HUP INT TERM
wait "$program"
status=$?
# A signal to this script ends the wait early.
while kill -0 "$program" 2>/dev/null; do
    wait "$program"
    status=$?
done

# A reader that still reads is killed here; one whose pipe has closed ends by itself.
kill "$reader" 2>/dev/null
if wait "$reader" && [ -n "$folder" ]; then
    cd / && rm -rf "$folder"
fi
exit "$status"
