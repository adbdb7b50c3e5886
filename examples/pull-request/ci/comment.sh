#!/bin/sh
# Keeps one comment of a pull request equal to a plan: posts it the first time, updates it afterwards.
#
#   ci/comment.sh PLAN
#
# PLAN is what `podwright diff -o markdown` wrote. Its first line, <!-- podwright:plan target=NAME -->, is the mark by
# which the comment is found again, among the comments of the same author only.
#
# GitHub:  GITHUB_TOKEN, PULL_REQUEST (its number), and what Actions sets.
#          COMMENT_AUTHOR is who comments with that token [default: github-actions[bot]].
# GitLab:  GITLAB_TOKEN, and what a pipeline of a merge request sets.
#
# Without a token, or with one that may not comment (a fork's), the plan goes to the job summary where there is one.
# Needs curl, which finds the token in a file that only this user can read, and jq; GitHub's runners have both.
set -eu

plan=$1
mark=$(head -n 1 "$plan")
case $mark in
'<!-- podwright:plan target='*' -->') ;;
*)
    echo "ci/comment.sh: $plan does not begin with the mark of a plan" >&2
    exit 1
    ;;
esac

umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The plan is shown elsewhere, and that is no failure.
elsewhere() {
    echo "ci/comment.sh: no comment, because $1" >&2
    if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
        cat "$plan" >>"$GITHUB_STEP_SUMMARY"
        echo "ci/comment.sh: the plan is in the summary of this job" >&2
    else
        echo "ci/comment.sh: the plan is in $plan" >&2
    fi
    exit 0
}

failed() {
    echo "ci/comment.sh: $1" >&2
    exit 1
}

# request METHOD URL [BODY]: the status in $code, the answer in $work/answer. Only reading is tried again: what was posted
# may have arrived although its answer did not. Redirects are not followed, so the token goes nowhere else.
request() {
    if [ "$1" = GET ]; then
        set -- "$@" --retry 3
    else
        set -- "$1" "$2" --header 'Content-Type: application/json' --data-binary "@$3"
    fi
    method=$1 url=$2
    shift 2
    code=$(curl -q -sS --connect-timeout 10 --max-time 60 --request "$method" --header "@$work/headers" \
        --output "$work/answer" --write-out '%{http_code}' "$@" "$url") || failed "$method $url: no answer"
}

# Ends the script unless the last request went well.
answered() {
    case $code in
    2??) ;;
    401 | 403 | 404) elsewhere "this token may not comment here (status $code)" ;;
    *) failed "$method $url: status $code" ;;
    esac
}

# Finds the comment: its number in $found, or nothing. A comment by somebody else is not ours, whatever it says.
find_comment() {
    found=
    page=1
    while [ "$page" -le 100 ]; do
        request GET "$comments?per_page=100&page=$page"
        answered
        found=$(jq -r --arg mark "$mark" --arg author "$author" "
            [.[] | select($author_field == \$author)
                 | select((.body // \"\") | split(\"\\n\")[0] // \"\" | rtrimstr(\"\\r\") == \$mark)
                 | .id] | first // empty" "$work/answer") || failed "GET $comments: no list of comments"
        case $found in *[!0-9]*) failed "GET $comments: $found is no number of a comment" ;; esac
        if [ -n "$found" ] || [ "$(jq length "$work/answer")" = 0 ]; then
            return
        fi
        page=$((page + 1))
    done
    failed "$comments: more comments than can be looked through"
}

if [ -n "${GITHUB_ACTIONS:-}" ]; then
    [ -n "${GITHUB_TOKEN:-}" ] || elsewhere "there is no token"
    {
        printf 'Authorization: Bearer %s\n' "$GITHUB_TOKEN"
        echo 'Accept: application/vnd.github+json'
        echo 'X-GitHub-Api-Version: 2022-11-28'
    } >"$work/headers"
    author=${COMMENT_AUTHOR:-github-actions[bot]}
    author_field=.user.login
    comments=$GITHUB_API_URL/repos/$GITHUB_REPOSITORY/issues/$PULL_REQUEST/comments
    one_comment=$GITHUB_API_URL/repos/$GITHUB_REPOSITORY/issues/comments
    update=PATCH
    cp "$plan" "$work/text"
elif [ -n "${GITLAB_CI:-}" ]; then
    [ -n "${GITLAB_TOKEN:-}" ] || elsewhere "there is no token"
    printf 'PRIVATE-TOKEN: %s\n' "$GITLAB_TOKEN" >"$work/headers"
    request GET "$CI_API_V4_URL/user"
    answered
    author=$(jq -r .username "$work/answer")
    author_field=.author.username
    comments=$CI_API_V4_URL/projects/$CI_MERGE_REQUEST_PROJECT_ID/merge_requests/$CI_MERGE_REQUEST_IID/notes
    one_comment=$comments
    update=PUT
    # Outside of code, a line that begins with a slash is a command to GitLab, such as /merge.
    awk '
        { ticks = match($0, /^```+/) ? RLENGTH : 0 }
        !code && ticks { code = ticks; print; next }
        code && ticks >= code && /^`+[ \t]*$/ { code = 0; print; next }
        !code && /^[ \t]*\// { sub(/\//, "\\/") }
        { print }
    ' "$plan" >"$work/text"
else
    failed "neither GITHUB_ACTIONS nor GITLAB_CI is set"
fi

jq -Rs '{body: .}' "$work/text" >"$work/body"
find_comment
if [ -n "$found" ]; then
    request "$update" "$one_comment/$found" "$work/body"
fi
# It may have been deleted in the meantime.
if [ -z "$found" ] || [ "$code" = 404 ]; then
    request POST "$comments" "$work/body"
fi
answered
