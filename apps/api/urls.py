"""Every address below /api/v1/."""

from django.urls import path, re_path

from apps.accounts import api_views as accounts
from apps.api.docs_views import DocsView
from apps.api.problems import UnknownAddress
from apps.api.schema_views import SchemaView
from apps.endpoints import api_views as endpoints
from apps.exports import api_views as exports
from apps.imports import api_views as imports
from apps.imports import uploads_api_views as uploads
from apps.jobs import api_views as jobs
from apps.labeling import api_views as labeling
from apps.labeling import oversight_api_views as oversight
from apps.projects import api_views as projects
from apps.quality import api_views as quality
from apps.reward_models import api_views as reward_models
from apps.reward_models import search_api_views as searches
from apps.reward_models import serving_api_views as serving
from apps.rules import api_views as rules
from apps.signals import api_views as signals
from apps.webhooks import api_views as webhooks

PROJECT = "projects/<slug:slug>"

urlpatterns = [
    path("schema/", SchemaView.as_view(), name="schema"),
    path("docs/", DocsView.as_view(), name="docs"),
    path("tokens/", accounts.TokenList.as_view()),
    path("tokens/<str:id>/", accounts.TokenDetail.as_view()),
    path("model-endpoints/", endpoints.EndpointList.as_view()),
    path("model-endpoints/<str:id>/", endpoints.EndpointDetail.as_view()),
    path("model-endpoints/<str:id>/test/", endpoints.EndpointTest.as_view()),
    path("projects/", projects.ProjectList.as_view()),
    path(f"{PROJECT}/", signals.ProjectDetail.as_view()),
    path(f"{PROJECT}/members/", projects.MemberList.as_view()),
    # Imported annotators have names of any kind, slashes among them.
    path(f"{PROJECT}/members/<path:username>/", projects.MemberDetail.as_view()),
    path(f"{PROJECT}/imports/", imports.ImportList.as_view()),
    path("imports/<str:id>/", imports.ImportDetail.as_view()),
    path("imports/<str:id>/report/", imports.ImportReport.as_view()),
    path("imports/<str:id>/undo/", imports.ImportUndo.as_view()),
    path(f"{PROJECT}/uploads/", uploads.UploadList.as_view()),
    path(f"{PROJECT}/uploads/<str:id>/", uploads.UploadDetail.as_view()),
    path(f"{PROJECT}/assignments/", labeling.AssignmentLease.as_view()),
    path("assignments/<str:id>/draft/", labeling.AssignmentDraft.as_view()),
    path("assignments/<str:id>/submit/", labeling.AssignmentSubmit.as_view()),
    path("assignments/<str:id>/skip/", labeling.AssignmentSkip.as_view()),
    path("assignments/<str:id>/reopen/", labeling.AssignmentReopen.as_view()),
    path(f"{PROJECT}/comparisons/", signals.ComparisonList.as_view()),
    path(f"{PROJECT}/comparisons/<str:id>/", signals.ComparisonDetail.as_view()),
    path(f"{PROJECT}/comparisons/<str:id>/close/", oversight.ComparisonClose.as_view()),
    path(f"{PROJECT}/comparisons/<str:id>/put-back/", oversight.ComparisonPutBack.as_view()),
    path(f"{PROJECT}/flags/", oversight.FlagList.as_view()),
    path(f"{PROJECT}/cohorts/", oversight.CohortList.as_view()),
    path("cohorts/<str:id>/", oversight.CohortDetail.as_view()),
    path(f"{PROJECT}/annotations/", labeling.AnnotationList.as_view()),
    path(f"{PROJECT}/quality/", quality.QualityDetail.as_view()),
    path(f"{PROJECT}/snapshots/", exports.SnapshotList.as_view()),
    path("snapshots/<str:id>/", exports.SnapshotDetail.as_view()),
    path("snapshots/<str:id>/card/", exports.SnapshotCard.as_view()),
    path("snapshots/<str:id>/croissant/", exports.SnapshotCroissant.as_view()),
    path("snapshots/<str:id>/diff/<str:other_id>/", exports.SnapshotDiff.as_view(), name="snapshot-changes"),
    path("snapshots/<str:id>/files/<str:export_format>/<str:file>", exports.SnapshotFile.as_view()),
    path(f"{PROJECT}/scorers/", signals.ScorerList.as_view()),
    path("scorers/<str:id>/run/", signals.ScorerRun.as_view()),
    path(f"{PROJECT}/signals/", signals.SignalList.as_view()),
    path(f"{PROJECT}/training-runs/", reward_models.TrainingRunList.as_view()),
    path("training-runs/<str:id>/", reward_models.TrainingRunDetail.as_view()),
    path("training-runs/<str:id>/resume/", reward_models.TrainingRunResume.as_view()),
    path(f"{PROJECT}/recipe-searches/", searches.RecipeSearchList.as_view()),
    path("recipe-searches/<str:id>/", searches.RecipeSearchDetail.as_view()),
    path("recipe-searches/<str:id>/use/", searches.RecipeSearchUse.as_view()),
    path(f"{PROJECT}/reward-models/", reward_models.RewardModelList.as_view()),
    path("reward-models/<str:id>/", reward_models.RewardModelDetail.as_view()),
    path("reward-models/<str:id>/promote/", reward_models.RewardModelPromote.as_view()),
    path("reward-models/<str:id>/rollback/", reward_models.RewardModelRollback.as_view()),
    path("reward-models/<str:id>/evaluations/", reward_models.RewardModelEvaluations.as_view()),
    path("reward-models/<str:id>/card/", reward_models.RewardModelCard.as_view()),
    path("reward-models/<str:id>/archive/", reward_models.RewardModelArchive.as_view()),
    path("reward-models/<str:id>/score/", serving.RewardModelScore.as_view()),
    path("evaluations/<str:id>/", reward_models.EvaluationDetail.as_view()),
    path(f"{PROJECT}/retrain-policy/", reward_models.RetrainPolicyDetail.as_view()),
    path(f"{PROJECT}/rule-extractions/", rules.RuleExtractionList.as_view()),
    path("rule-extractions/<str:id>/items/", rules.RuleExtractionItems.as_view()),
    path("rule-extractions/<str:id>/merges/", rules.RuleExtractionMerges.as_view()),
    path(f"{PROJECT}/rule-sets/", rules.RuleSetList.as_view()),
    path("rule-sets/<str:id>/", rules.RuleSetDetail.as_view()),
    path("rule-sets/<str:id>/verify/", rules.RuleSetVerify.as_view()),
    path("rule-sets/<str:id>/activate/", rules.RuleSetActivate.as_view()),
    path("rule-sets/<str:id>/verdicts/", rules.RuleSetVerdicts.as_view()),
    path("rule-sets/<str:id>/measure/", rules.RuleSetMeasure.as_view()),
    path("rules/<str:id>/", rules.RuleDetail.as_view()),
    path(f"{PROJECT}/jobs/", jobs.ProjectJobList.as_view()),
    path("jobs/<str:id>/", jobs.JobDetail.as_view()),
    path("jobs/<str:id>/cancel/", jobs.JobCancel.as_view()),
    path(f"{PROJECT}/webhooks/", webhooks.WebhookList.as_view()),
    path(f"{PROJECT}/webhooks/<str:id>/", webhooks.WebhookDetail.as_view()),
    path(f"{PROJECT}/webhooks/<str:id>/test/", webhooks.WebhookTest.as_view()),
    path(f"{PROJECT}/webhooks/<str:id>/rotate/", webhooks.WebhookRotate.as_view()),
    path(f"{PROJECT}/webhooks/<str:id>/deliveries/", webhooks.DeliveryList.as_view()),
    path("webhook-deliveries/<str:id>/replay/", webhooks.DeliveryReplay.as_view()),
    re_path(r"", UnknownAddress.as_view()),
]
