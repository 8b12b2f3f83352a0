#!/bin/sh
# Tells about the machine: a service of a mutirao node in POSIX shell.
#
#   kernel   -> {"name": "Linux", "release": "6.1.0"}
#   uptime   -> the line of uptime(1), as a text
#   disk     -> {"total_kb": n, "free_kb": n} of the file system of /
#
# A shell cannot read JSON, but it can cut the two fields that it needs out of a line: the node always writes ID and
# METHOD first, in this order, and a method is a plain word.

# A text as JSON: \ and " are escaped, and so are tabs, which are all that these commands print beside letters.
quoted() {
    printf '"%s"' "$(printf '%s' "$1" | tr '\t\n' '  ' | sed 's/\\/\\\\/g; s/"/\\"/g')"
}

while IFS= read -r line; do
    id=${line#'{"ID":"'}
    id=${id%%'"'*}
    method=${line#*'"METHOD":"'}
    method=${method%%'"'*}
    case $method in
    kernel)
        result="{\"name\":$(quoted "$(uname -s)"),\"release\":$(quoted "$(uname -r)")}"
        ;;
    uptime)
        # Not everybody has uptime(1), which is no part of POSIX; Linux tells the seconds in a file.
        if text=$(uptime 2>/dev/null); then :; else text="up $(cut -d ' ' -f 1 /proc/uptime 2>/dev/null) s"; fi
        result=$(quoted "$text")
        ;;
    disk)
        # -P: one line a file system, in blocks of 1024 bytes with -k.
        result=$(df -Pk / | awk 'NR == 2 { printf "{\"total_kb\":%s,\"free_kb\":%s}", $2, $4 }')
        ;;
    *)
        printf '{"ID":"%s","ERROR":"no such method","RETRY":false}\n' "$id"
        continue
        ;;
    esac
    if [ -n "$result" ]; then
        printf '{"ID":"%s","RESULT":%s}\n' "$id" "$result"
    else
        printf '{"ID":"%s","ERROR":"the system did not tell","RETRY":true}\n' "$id"
    fi
done
