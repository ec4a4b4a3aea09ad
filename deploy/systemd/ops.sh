#!/bin/sh
# Runs ops with this machine's settings, as the user that owns the database, so that its files stay the services'.
# docs/install.md installs it as /usr/local/sbin/church-ops.
set -a
. /etc/church-live/ops.env
# Who is recorded beside what ops changes, and where the console keeps its log of actions.
USER=${SUDO_USER:-${USER:-root}}
OPS_ACTION_LOG=${OPS_ACTION_LOG:-/var/lib/church-live/actions.jsonl}
exec runuser -u church-live -- /opt/church-live/bin/ops "$@"
