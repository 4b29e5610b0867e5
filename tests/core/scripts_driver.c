/* scripts_driver.c - prints all the shell text that transfers send, for `sh -n` and shellcheck. */
#include "transfer/scripts.h"

#include <stdio.h>

int main(void)
{
    static const char *const sources[] = {"~/file", "/tmp/pattern*", "it's"};
    struct vt_script x;
    struct vt_buf text;
    size_t line = 0;
    vt_script_init(&x);
    vt_script_look(&x, "~user/it's");
    vt_script_sources(&x, sources, 3);
    vt_script_exists(&x, "it's");
    vt_script_content(&x);
    vt_script_has_content(&x, "it's");
    vt_script_holes(&x, "it's");
    vt_script_cat(&x, "it's");
    vt_script_folders(&x, "it's");
    vt_script_owner(&x, "it's", 1, 2, true, 3);
    vt_script_names(&x);
    vt_script_sync(&x);
    vt_script_mode(&x, "-file", 04755);
    vt_script_file(&x, "-file", "it's", 7, 0644, VT_FIT_ALL, 1);
    vt_script_file(&x, "-file", "it's", 7, 04711, VT_FIT_MODE, 1);
    vt_script_file(&x, "-file", "it's", 7, 0600, VT_FIT_OWN, 1);
    vt_script_link(&x, "../to", "link", "it's", 2);
    vt_script_link(&x, "../to", "link", NULL, 3);
    vt_script_folder(&x, "temporary", "folder", true, 4);
    vt_script_remove(&x, "-file");
    vt_script_rm(&x, "-file", &line);
    vt_script_rm(&x, "it's", &line);
    vt_script_rm_folder(&x, "it's");
    vt_script_gone(&x);
    vt_script_is_gone(&x, "it's");
    vt_script_sums(&x);
    vt_script_sum(&x, "it's");
    vt_buf_init(&text, 1024 * 1024);
    if (vt_script_guard(&x, "virtvm-mark", &text) != VT_OK)
        return 1;
    fwrite(text.data, 1, text.len, stdout);
    vt_buf_fini(&text);
    vt_script_fini(&x);
    return 0;
}
