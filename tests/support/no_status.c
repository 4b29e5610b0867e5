/* A libssh2 that can be asked, of a server that has sent no exit status. */
int libssh2_channel_has_exit_status(void *channel);

int libssh2_channel_has_exit_status(void *channel)
{
    return channel == 0;
}
