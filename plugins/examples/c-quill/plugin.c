/* Who the plugin is, where it is met, and how its workers are. */
#include "quill.h"

#include <stdlib.h>
#include <string.h>

static const char ERROR[] =
    "{\"error\":{\"kind\":\"{label}\",\"message\":\"{message}\",\"param\":{param}}}";

void exports_tollgate_plugin_plugin_describe(PLUGIN(manifest_t) *it) {
    memset(it, 0, sizeof *it);
    protocol_string_dup(&it->name, "quill");
    protocol_string_dup(&it->version, "0.1.0");
    protocol_string_dup(&it->description, "The quill protocol, in C");
    protocol_string_dup(&it->options_schema, "{\"type\": \"object\", \"additionalProperties\": false}");
    it->dialects.ptr = room(NULL, sizeof *it->dialects.ptr);
    it->dialects.len = 1;
    protocol_string_dup(it->dialects.ptr, "quill-c");
    it->tasks.ptr = room(NULL, sizeof *it->tasks.ptr);
    it->tasks.len = 1;
    it->tasks.ptr->tag = TOLLGATE_PLUGIN_INFERENCE_TASK_KIND_GENERATE;
    it->errors.ptr = room(NULL, sizeof *it->errors.ptr);
    it->errors.len = 1;
    memset(it->errors.ptr, 0, sizeof *it->errors.ptr);
    protocol_string_dup(&it->errors.ptr->content_type, "application/json");
    protocol_string_dup(&it->errors.ptr->body, ERROR);
}

bool exports_tollgate_plugin_plugin_configure(protocol_string_t *options, PLUGIN(list_claim_t) *claims,
                                              PLUGIN(list_problem_t) *problems) {
    bool good = options->len == 0 || is(*options, "{}");
    protocol_string_free(options);
    if (!good) {
        problems->ptr = room(NULL, sizeof *problems->ptr);
        problems->len = 1;
        memset(problems->ptr, 0, sizeof *problems->ptr);
        protocol_string_dup(&problems->ptr->message, "this plugin has no options");
        return false;
    }
    claims->ptr = room(NULL, sizeof *claims->ptr);
    claims->len = 1;
    memset(claims->ptr, 0, sizeof *claims->ptr);
    PLUGIN(surface_t) *surface = &claims->ptr->surface;
    surface->tag = EXPORTS_TOLLGATE_PLUGIN_PLUGIN_SURFACE_REST;
    protocol_string_dup(&surface->val.rest.method, "POST");
    protocol_string_dup(&surface->val.rest.path, "/quill/v1/write");
    surface->val.rest.gathering.tag = EXPORTS_TOLLGATE_PLUGIN_PLUGIN_GATHERING_WHOLE;
    claims->ptr->task.is_some = true;
    claims->ptr->task.val.tag = TOLLGATE_PLUGIN_INFERENCE_TASK_KIND_GENERATE;
    return true;
}

bool exports_tollgate_plugin_backend_batch_key(BACKEND(worker_t) *worker, BACKEND(call_t) *call,
                                               protocol_string_t *key) {
    (void)key;
    exports_tollgate_plugin_backend_worker_free(worker);
    tollgate_plugin_inference_call_free(call);
    return false;
}

void exports_tollgate_plugin_backend_probe(BACKEND(worker_t) *worker,
                                           BACKEND(list_probe_request_t) *asked) {
    exports_tollgate_plugin_backend_worker_free(worker);
    asked->ptr = room(NULL, sizeof *asked->ptr);
    asked->len = 1;
    memset(asked->ptr, 0, sizeof *asked->ptr);
    asked->ptr->surface.tag = EXPORTS_TOLLGATE_PLUGIN_BACKEND_SURFACE_REST;
    protocol_string_dup(&asked->ptr->surface.val.rest.method, "GET");
    protocol_string_dup(&asked->ptr->surface.val.rest.path, "/quill/v1/health");
}

/* A worker that answers is ready: which models it has, its configuration says. */
void exports_tollgate_plugin_backend_judge(BACKEND(worker_t) *worker,
                                           BACKEND(list_probe_response_t) *answers,
                                           BACKEND(health_t) *health) {
    memset(health, 0, sizeof *health);
    health->ready = answers->len == 1 && answers->ptr->status == 200;
    if (!health->ready) {
        health->reason.is_some = true;
        protocol_string_dup(&health->reason.val, "it does not answer with status 200");
    }
    exports_tollgate_plugin_backend_worker_free(worker);
    exports_tollgate_plugin_backend_list_probe_response_free(answers);
}
