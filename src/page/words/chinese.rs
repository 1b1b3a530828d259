//! Simplified Chinese.

mod phrases;

use super::{Engine, Facts, Scene, Words};
use crate::diagnosis::{Code, Confidence, Severity};
use crate::phrase::Table;

pub(in crate::page) const WORDS: Words = Words {
    lang: "zh-Hans",
    asked_by: &["zh"],
    // Written in traditional characters, which are others.
    akin_to: &["zh-hant", "zh-tw", "zh-hk", "zh-mo"],
    analytics: "分析服务",
    service: "此服务",

    starting: Scene {
        label: "正在启动", sentence: "{it}正在启动。", advice: "页面会自动打开，您无需进行任何操作。"
    },
    down: Scene {
        label: "不可用",
        sentence: "{it}目前不可用。",
        advice: "它不太可能自行恢复。请告知管理人员，并提供下面的编号。一旦恢复，页面会自动打开。",
    },
    checking: Scene {
        label: "没有响应", sentence: "{it}尚未响应。", advice: "一旦有响应，页面会自动打开。"
    },
    broken: Scene {
        label: "响应异常",
        sentence: "{it}没有正常响应。",
        advice: "这通常是暂时的。如果再次出现，请告知管理人员，并提供下面的编号。",
    },
    timed_out: Scene {
        label: "响应超时",
        sentence: "{it}未能及时响应。",
        advice: "它可能正忙。如果再次出现，请告知管理人员，并提供下面的编号。",
    },
    busy: Scene {
        label: "非常繁忙", sentence: "{it}收到的请求过多，暂时无法全部处理。", advice: "请稍后重试。"
    },
    back: Scene { label: "已就绪", sentence: "{it}已就绪。", advice: "页面正在加载。" },
    not_delivered: "您的请求没有送达。请稍后重新发送。",
    keep_open: "您的请求没有送达。请不要关闭此页面：可以重新发送时，这里会提示您。",
    uncertain: "无法确定您的请求是否已经执行。请先确认，再重新发送。",
    long: "启动时间较长。您可以继续等待；如果一直没有好转，请告知管理人员，并提供下面的编号。",
    support: "联系方式",
    try_again: "重试",
    send_again: "{it}已恢复。请重新发送您的请求。",
    check_first: "{it}已恢复。请先确认您的请求是否已经执行，再重新发送。",
    still_failing: "{it}表示已就绪，但此页面无法打开。",
    lost: "连接已中断，正在重试。",
    copy: "复制",
    copied: "已复制",
    how_long: |elapsed, usual| {
        let elapsed = (WORDS.duration)(elapsed);
        match usual {
            Some(usual) => format!("已启动 {elapsed}，通常 {} 后就绪", (WORDS.duration)(usual)),
            None => format!("已启动 {elapsed}"),
        }
    },
    reference: "编号",
    colon: "：",
    comma: "，",

    operator: "供管理人员查看",
    simulated: "模拟：这是演示，并未查看任何容器。",
    cause: "原因",
    also: "另外发现",
    no_finding: "没有已知原因符合所见情况。",
    remedy: "处理方法",
    permanent: "长期有效",
    unshowable: "有对应的命令，但无法在这里原样显示。",
    chain: "请求的路径",
    breaks_here: "在此中断。",
    router: "Traefik",
    router_does: "已转发请求",
    anteroom_does: "发送了此页面",
    summary_target: "服务",
    summary_dependency: "依赖的服务",
    answers: "有响应",
    unknown: "状态未知",
    not_ready: "未就绪",
    timeline: "容器经历的事件",
    log: "日志的最后几行",
    health_output: "健康检查最近的输出",
    exit_code: "退出码",
    facts: "容器",
    last_known: "容器（最后一次看到的情况）",
    fact: Facts {
        container: "容器",
        state: "状态",
        oom_killed: "内存耗尽",
        health: "健康状态",
        no_health_check: "没有健康检查",
        restarts: "重启次数",
        policy: "重启策略",
        started: "启动时间",
        finished: "结束时间",
        never: "从未",
        image: "镜像",
        networks: "网络",
        none: "无",
        project: "项目",
        service: "服务",
        engine: "容器引擎",
        yes: "是",
        no: "否",
    },
    engine: Engine {
        unknown: "尚未询问",
        available: "有响应，版本",
        unavailable: "无法连接，因此不知道容器的状态：",
        forbidden: "不允许 anteroom 询问，因此不知道容器的状态：",
        simulated: "模拟",
    },

    phrases: Table(phrases::PHRASES),
    severity: |severity| match severity {
        Severity::Info => "提示",
        Severity::Warning => "警告",
        Severity::Error => "错误",
    },
    confidence: |confidence| match confidence {
        Confidence::Possible => "有可能",
        Confidence::Likely => "很可能",
        Confidence::Certain => "",
    },
    meaning: |code| match code {
        Code::TargetWarming => "服务正在启动",
        Code::TargetExited => "服务已停止",
        Code::TargetNotRestarted => "主机重启后，服务没有再次启动",
        Code::TargetStoppedByHand => "服务被手动停止",
        Code::TargetOomKilled => "服务的内存已耗尽",
        Code::TargetCrashLoop => "服务不断崩溃",
        Code::TargetStartFailed => "服务无法启动",
        Code::TargetNeverStarted => "服务从未启动过",
        Code::TargetAbsent => "服务不存在",
        Code::TargetPaused => "服务已暂停",
        Code::TargetDead => "服务未能完全移除",
        Code::TargetUnhealthy => "服务未通过健康检查",
        Code::PortConflict => "服务的端口被其他程序占用",
        Code::NetworkNotShared => "服务在另一个网络上",
        Code::NetworkStale => "服务所在的网络已不存在",
        Code::AliasMissing => "服务不响应自己的名称",
        Code::AliasDuplicated => "多个服务响应同一个名称",
        Code::NameNotResolved => "无法解析服务的名称",
        Code::NameResolvedOutside => "服务的名称指向了别处",
        Code::ConnectTimeout => "服务未能及时接受连接",
        Code::PortRefused => "服务拒绝连接",
        Code::NoAnswer => "服务未能及时响应",
        Code::ClosedEarly => "服务在响应之前关闭了连接",
        Code::NotHttp => "服务的响应不是 HTTP",
        Code::TlsMismatch => "服务与代理的加密方式不一致",
        Code::UpstreamError => "服务返回了错误",
        Code::ProxyLoop => "请求在循环转发",
        Code::EngineUnavailable => "无法连接容器引擎",
        Code::EngineForbidden => "不允许询问容器引擎",
        Code::WaitingRoomFull => "等待中的请求过多",
        Code::HeldBytesSpent => "等待中的请求占用过大",
        Code::DependencyDown => "服务所依赖的组件没有运行",
        Code::PatienceEnded => "请求已等待到允许的时限",
        Code::PortMismatch => "服务监听在另一个端口",
        Code::ListensOnLoopback => "无法从容器外部访问该服务",
        Code::PermissionDenied => "服务缺少所需的权限",
        Code::MountFailed => "服务所需的挂载失败",
        Code::OneOffContainer => "该服务的另一个副本正在运行",
        Code::AuthBackendDown => "负责登录验证的服务没有运行",
        Code::PluginDownloadFailed => "服务无法获取所需的插件",
        Code::EvidenceContradictory => "观察到的情况相互矛盾",
        Code::ImageMissing => "主机上没有该服务的镜像",
        Code::NetworkAmbiguous => "该服务在多个网络上，路由可能选错了网络",
        Code::RouterInvalid => "路由不认识该服务",
        Code::ProjectOrphans => "存在旧定义遗留的容器",
        Code::DiskFull => "磁盘已满",
        Code::RestartedLately => "该服务最近被重新启动过",
        Code::RestartPolicyMissing => "主机重启后，部分服务不会自动启动",
        Code::HealthCheckMissing => "部分服务没有健康检查",
        Code::DashboardNotEnabled => "路由的控制面板未启用",
        Code::RetryBudgetSpent => "重试的请求过多",
    },
    duration: |duration| {
        let seconds = duration.as_secs();
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        match seconds {
            0..60 => format!("{seconds} 秒"),
            60..3600 => format!("{minutes} 分 {} 秒", seconds % 60),
            3600..86_400 => format!("{hours} 小时 {} 分", minutes % 60),
            _ => format!("{days} 天 {} 小时", hours % 24),
        }
    },
    ago: |duration| {
        let seconds = duration.as_secs();
        match seconds {
            0..60 => format!("{seconds} 秒前"),
            60..3600 => format!("{} 分钟前", seconds / 60),
            3600..86_400 => format!("{} 小时前", seconds / 3600),
            _ => format!("{} 天前", seconds / 86_400),
        }
    },
};
