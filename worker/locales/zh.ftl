notice = 回复STOP退订
emoji = [表情]
new-message = 新消息
fresh-link = 这是您的链接
waiting = { $sender } +{ $count } · { $thread }
files = { $count ->
    [1] [照片]
   *[other] [{ $count }个文件]
}
