#!/bin/sh
# Runs ops with this machine's settings, as the user that owns the database, so that its files stay the services'.
# docs/install.md installs it as /usr/local/sbin/church-ops.
set -a
. /etc/church-live/ops.env
exec runuser -u church-live -- /opt/church-live/bin/ops "$@"
